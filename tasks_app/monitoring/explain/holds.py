"""What holds a pending task back: a freeze, a pause, a start time, a limit; and when it expires."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import quote

from tasks_app import formats
from tasks_app.models import Freeze, Hold
from tasks_app.models.task import FailureClass, short_id
from tasks_app.monitoring.explain.findings import SHOWN, Case, Code, Finding, select, stamp

SWEEPS_SOON_SEC = 5.0
"""Sweeps run several times a second in every worker and web process: after this long, none is running."""
ERROR_CHARS = 200
NO_ACTION = "Nothing to do: it becomes claimable at that time."


def frozen(case: Case) -> list[Finding]:
    """Find a freeze."""
    freeze = Freeze.objects.first()
    if freeze is None:
        return []
    since = case.since(freeze.frozen_at)
    return [
        Finding(
            code=Code.FROZEN,
            severity="blocking",
            text=f"Everything is frozen by {freeze.frozen_by} since {since}: {freeze.reason}.",
            remedy="When the reason is gone, run manage.py absurd_thaw. Until then new tasks stay pending.",
            detail={"by": freeze.frozen_by, "since": stamp(freeze.frozen_at), "reason": freeze.reason},
        )
    ]


def paused(case: Case) -> list[Finding]:
    """Find a pause of the queue."""
    queue = case.task.queue
    if queue.paused_at is None:
        return []
    since, reason = case.since(queue.paused_at), queue.pause_reason or "no reason given"
    return [
        Finding(
            code=Code.QUEUE_PAUSED,
            severity="blocking",
            text=f"The queue {queue.name} is paused by {queue.paused_by} since {since}: {reason}.",
            remedy=f"Resume it on its page, or with POST /api/absurd/queues/{quote(queue.name, safe='')}/resume.",
            detail={
                "queue": queue.name,
                "by": queue.paused_by,
                "since": stamp(queue.paused_at),
                "reason": queue.pause_reason,
            },
        )
    ]


def future(case: Case) -> list[Finding]:
    """Find a start time in the future: scheduled, or the delay before a retry."""
    task = case.task
    if not task.hold & Hold.FUTURE:
        return []
    detail: dict[str, Any] = {
        "runnable_at": stamp(task.runnable_at),
        "in_sec": round(-case.sec_since(task.runnable_at), 1),
    }
    if task.runnable_at <= case.as_of:
        return [_due(case, detail)]
    if not task.error:
        text = f"It is scheduled: it may start {case.until(task.runnable_at)}."
        return [Finding(code=Code.SCHEDULED, severity="blocking", text=text, remedy=NO_ACTION, detail=detail)]
    retry = f"retry {task.retry_count} of {task.max_retries}"
    text = f"{_last_attempt(case)} The next attempt, {retry}, may start {case.until(task.runnable_at)}."
    detail |= {"retry": task.retry_count, "max_retries": task.max_retries, **_failure(case)}
    return [Finding(code=Code.RETRYING, severity="blocking", text=text, remedy=NO_ACTION, detail=detail)]


def _due(case: Case, detail: dict[str, Any]) -> Finding:
    late = case.sec_since(case.task.runnable_at) > SWEEPS_SOON_SEC
    remedy = "Start a worker or the web server: their sweeps make due tasks claimable." if late else NO_ACTION
    text = f"Its start time has passed, {case.until(case.task.runnable_at)}, but no sweep has made it claimable yet."
    return Finding(code=Code.DUE, severity="blocking", text=text, remedy=remedy, detail=detail)


def _last_attempt(case: Case) -> str:
    task = case.task
    return f"Attempt {task.claim_epoch} failed as {task.failure_class}: {case.error(ERROR_CHARS)}."


def _failure(case: Case) -> dict[str, Any]:
    return {
        "attempt": case.task.claim_epoch,
        "failure_class": case.task.failure_class,
        "error": case.error(ERROR_CHARS),
    }


# The taken and free slots of each limit, with the few that have been held longest.
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
WHERE place <= {SHOWN}
ORDER BY scope, id, place
"""  # noqa: S608 - a constant


def limits(case: Case) -> list[Finding]:
    """Find each full limit; if none is full but the task is held by a limit, other tasks get the free slots first."""
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
    named = ", ".join(
        f"{slot['task_name']} {short_id(slot['task_id'])} on {slot['worker']} since {case.since(slot['claimed_at'])}"
        for slot in holders
        if slot["claimed_at"] is not None
    )
    more = limit["taken"] - len(holders)
    held_by = f", held by {named}{f' and {more:,} more' if more > 0 else ''}" if named else ""
    return Finding(
        code=Code.LIMIT_FULL,
        severity="blocking",
        text=f"The concurrency limit of {limit['scope']} {limit['name']} is full, "
        f"{limit['taken']} of {limit['size']}{held_by}.",
        remedy="Nothing to do: it is claimed after one of them has ended. To run more at once, raise the limit.",
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
    if found:
        text = f"It is held by a concurrency limit: {names}, for tasks that are before it."
        remedy = "Nothing to do: sweeps make it claimable when its turn has come."
    else:
        text = "It is held by a concurrency limit that does not exist any more."
        remedy = "Set the limit again; to make its tasks claimable at once, remove it after that."
    return Finding(code=Code.LIMIT_TURN, severity="blocking", text=text, remedy=remedy, detail={"limits": found})


def last_attempt(case: Case) -> list[Finding]:
    """Return how the previous attempt ended, once the task may run again."""
    task = case.task
    if not task.error or task.hold & Hold.FUTURE:
        return []
    if task.failure_class in (FailureClass.DRAINED, FailureClass.UNAVAILABLE):
        text = f"Attempt {task.claim_epoch} was returned without using up a retry: {case.error(ERROR_CHARS)}."
    else:
        text = f"{_last_attempt(case)} The next attempt is retry {task.retry_count} of {task.max_retries}."
    return [Finding(code=Code.LAST_ATTEMPT, text=text, detail=_failure(case))]


def ends(case: Case) -> list[Finding]:
    """Return when the task fails unless it was claimed, or has ended, by then."""
    task, found = case.task, []
    if task.expires_at is not None and task.claim_epoch == 0:
        text = f"Its queue timeout ends {case.until(task.expires_at)}: it fails unless it was claimed by then."
        found.append(_end(case, Code.EXPIRES, text, task.expires_at))
    if task.deadline_at is not None:
        text = f"Its total timeout ends {case.until(task.deadline_at)}: no attempt starts or continues after that."
        found.append(_end(case, Code.DEADLINE, text, task.deadline_at))
    return found


def _end(case: Case, code: Code, text: str, moment: datetime) -> Finding:
    left_sec = -case.sec_since(moment)
    remedy = "Nothing to do: the next sweep fails it; retry it then if it is still needed." if left_sec <= 0 else ""
    return Finding(code=code, text=text, remedy=remedy, detail={"at": stamp(moment), "left_sec": round(left_sec, 1)})
