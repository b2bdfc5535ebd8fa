"""The limits that a task stands under, and who holds their slots."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from tasks_app import formats
from tasks_app.models import Hold
from tasks_app.monitoring.explain.findings import Case, Code, Finding, stamp
from tasks_app.monitoring.explain.snapshot import select

HOLDERS_SHOWN = 5

# Of each limit how many slots are taken and free, with the few that have been held longest.
_LIMITS = f"""
SELECT * FROM (
    SELECT lim.id, lim.scope, lim.name, lim.size,
        count(slot.task_id) OVER of_limit AS taken,
        count(slot.id) FILTER (WHERE slot.task_id IS NULL) OVER of_limit AS free,
        row_number() OVER (PARTITION BY lim.id ORDER BY holder.claimed_at, slot.number) AS place,
        slot.task_id, holder.task_name, holder.claimed_at, worker.label || '@' || worker.host AS worker
    FROM tasks_app_limit AS lim
    LEFT JOIN tasks_app_limitslot AS slot ON slot.limit_id = lim.id
    LEFT JOIN tasks_app_task AS holder ON holder.task_id = slot.task_id
    LEFT JOIN tasks_app_worker AS worker ON worker.id = holder.worker_id
    WHERE (lim.scope = 'queue' AND lim.name = %(queue)s) OR (lim.scope = 'key' AND lim.name = %(key)s AND %(key)s <> '')
    WINDOW of_limit AS (PARTITION BY lim.id)
) AS slots
WHERE place <= {HOLDERS_SHOWN}
ORDER BY scope, id, place
"""  # noqa: S608 - a constant


def limits(case: Case) -> list[Finding]:
    """Each full limit; or, of a task that is parked although none is full, that others go first."""
    task = case.task
    rows = select(_LIMITS, {"queue": task.queue_id, "key": task.concurrency_key})
    found = [list(of_limit) for _, of_limit in groupby(rows, key=lambda row: row["id"])]
    full = [_full(case, of_limit) for of_limit in found if of_limit[0]["free"] == 0]
    if full or not task.hold & Hold.LIMIT or task.hold & (Hold.FUTURE | Hold.DEPENDENCY):
        return full
    return [_turn(of_limit[0] for of_limit in found)]


def _full(case: Case, slots: list[dict[str, Any]]) -> Finding:
    limit = slots[0]
    holders = [slot for slot in slots if slot["task_id"] is not None]
    told = ", ".join(
        f"{slot['task_name']} {str(slot['task_id'])[:8]} on {slot['worker']} since {case.since(slot['claimed_at'])}"
        for slot in holders
        if slot["claimed_at"] is not None
    )
    more = limit["taken"] - len(holders)
    held_by = f", held by {told}{f' and {more:,} more' if more > 0 else ''}" if told else ""
    return Finding(
        code=Code.LIMIT_FULL,
        weight="blocks",
        text=f"The limit of {limit['scope']} {limit['name']} is full, {limit['taken']} of {limit['size']}{held_by}.",
        do="Nothing to do: it goes on when one of them ends. A larger limit makes it sooner.",
        detail={
            "scope": limit["scope"],
            "name": limit["name"],
            "size": limit["size"],
            "taken": limit["taken"],
            "held_by": [
                {
                    "task_id": str(slot["task_id"]),
                    "task_name": slot["task_name"],
                    "worker": slot["worker"],
                    "since": stamp(slot["claimed_at"]),
                }
                for slot in holders
            ],
        },
    )


def _turn(limits: Iterable[dict[str, Any]]) -> Finding:
    found = [{name: limit[name] for name in ("scope", "name", "size", "taken", "free")} for limit in limits]
    names = " and ".join(
        f"the limit of {each['scope']} {each['name']} has {formats.count(each['free'], 'free slot')}" for each in found
    )
    text = f"It is parked under a limit: {names}, to be given to the tasks before it." if found else NO_LIMIT
    remedy = "Nothing to do: sweeps let it forward when its turn has come." if found else "Set that limit again."
    return Finding(code=Code.LIMIT_TURN, weight="blocks", text=text, do=remedy, detail={"limits": found})


NO_LIMIT = "It is parked under a limit that was taken away without letting its tasks forward."
