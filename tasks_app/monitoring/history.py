"""The last day in steps of a quarter of an hour: tasks spawned and finished, and how many were unfinished."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from tasks_app.postgresql import statements

STEP = timedelta(minutes=15)
STEPS = 96

# Ids of tasks begin with the time, so that their index finds those that were spawned lately.
_COUNTS = """
SELECT step, sum(spawned)::int, sum(completed)::int, sum(ended)::int FROM (
    SELECT date_bin(%(step)s, created_at, %(since)s) AS step, count(*) AS spawned, 0 AS completed, 0 AS ended
    FROM tasks_app_task WHERE task_id >= %(first_id)s AND created_at >= %(since)s {of_queue} GROUP BY 1
    UNION ALL
    SELECT date_bin(%(step)s, completed_at, %(since)s), 0, count(*) FILTER (WHERE status = 'completed'), count(*)
    FROM tasks_app_task WHERE completed_at >= %(since)s {of_queue} GROUP BY 1
) AS change
GROUP BY step
UNION ALL
SELECT NULL, (SELECT count(*) FROM tasks_app_task WHERE status = 'pending' AND hold = 0 {of_queue})::int
    + (SELECT count(*) FROM tasks_app_task WHERE status = 'claimed' {of_queue})::int, 0, 0
"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A quarter of an hour."""

    start: datetime
    spawned: int
    completed: int
    failed: int
    """Failed or cancelled."""
    unfinished: int
    """At its end, without those that cannot be claimed yet now."""


def last_day(moment: datetime | None = None, *, queue: str = "") -> list[Step]:
    """Return the steps of the last day, of one queue or of all, the present one last.

    The number of unfinished tasks is counted back from now. A task that was retried counts as unfinished since it was
    spawned.
    """
    now = moment or timezone.now()
    since = _floor(now) - (STEPS - 1) * STEP
    counts = _COUNTS.format(of_queue="AND queue_name = %(queue)s" if queue else "")
    rows = statements.run(counts, {"step": STEP, "since": since, "first_id": _first_id(since), "queue": queue})
    counted: dict[datetime | None, Any] = {step: counts for step, *counts in rows}
    unfinished = int(counted[None][0])
    found: list[Step] = []
    for number in reversed(range(STEPS)):
        start = since + number * STEP
        spawned, completed, ended = counted.get(start, (0, 0, 0))
        found.append(
            Step(
                start=start,
                spawned=spawned,
                completed=completed,
                failed=ended - completed,
                unfinished=max(0, unfinished),
            )
        )
        unfinished += ended - spawned
    return found[::-1]


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _first_id(moment: datetime) -> UUID:
    """Return the least id of version 7 of a moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
