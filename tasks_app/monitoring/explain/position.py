"""The position of a task in its queue, and when its turn comes at the present rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks_app import formats
from tasks_app.monitoring.explain.findings import Case, Code, Finding, select
from tasks_app.monitoring.explain.workers import LiveWorker, free_slots

COUNTED_MOST = 1000
WINDOW = timedelta(minutes=15)
ATTEMPTS_MOST = 1000
"""If more attempts ended within the window, the rate is that of the last ones."""

# Counted in the order of the index; otherwise the planner reads the table until it has found enough rows.
_AHEAD = f"""
SELECT least(sum(few.n), {COUNTED_MOST + 1})::integer AS n
FROM generate_series(0, 11) AS class(n)
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT FROM tasks_app_task
        WHERE queue_name = %(queue)s AND memory_class = class.n AND status = 'pending' AND hold = 0
            AND (rank, id) < (%(rank)s, %(id)s)
        ORDER BY rank, id LIMIT {COUNTED_MOST + 1}
    ) AS few_rows
) AS few
"""  # noqa: S608 - constants

# The queue of each attempt is looked up one by one: with a join the planner may read all tasks.
_ENDED = f"""
WITH recent AS (
    SELECT task_id, started_at, ended_at FROM tasks_app_attempt
    WHERE ended_at > %(since)s::timestamptz AND ended_at <= %(as_of)s::timestamptz
    ORDER BY ended_at DESC LIMIT {ATTEMPTS_MOST}
)
SELECT count(*)::integer AS n, min(started_at) AS first,
    (SELECT CASE WHEN count(*) = {ATTEMPTS_MOST} THEN min(ended_at) END FROM recent) AS cut
FROM recent
WHERE (SELECT queue_name FROM tasks_app_task AS task WHERE task.task_id = recent.task_id) = %(queue)s
"""  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How many attempts of the queue ended within a recent window."""

    ended: int
    window_sec: float

    @property
    def per_sec(self) -> float | None:
        """Attempts per second; None where none ended."""
        return self.ended / self.window_sec if self.ended and self.window_sec > 0 else None


def ahead_of(case: Case) -> int:
    """Count the claimable tasks before this one in its queue, up to COUNTED_MOST + 1."""
    task = case.task
    return int(select(_AHEAD, {"queue": task.queue_id, "rank": task.rank, "id": task.pk})[0]["n"])


def rate_of(case: Case) -> Rate:
    """Return the present rate of the queue.

    The window starts no earlier than the first of the attempts counted, so that a queue that has only just started does
    not look slow.
    """
    since = case.as_of - WINDOW
    row = select(_ENDED, {"since": since, "as_of": case.as_of, "queue": case.task.queue_id})[0]
    start: datetime = max(moment for moment in (since, row["first"], row["cut"]) if moment is not None)
    return Rate(ended=row["n"], window_sec=case.sec_since(start))


def place(case: Case, workers: Sequence[LiveWorker], *, blocked: bool) -> list[Finding]:
    """Return the task's position, and when its turn comes if nothing else holds it back."""
    ahead = ahead_of(case)
    detail: dict[str, object] = {"ahead": min(ahead, COUNTED_MOST), "ahead_is_exact": ahead <= COUNTED_MOST}
    if blocked:
        return [Finding(code=Code.BEHIND, text=f"{_behind(ahead)}.", detail=detail)] if ahead else []
    free = free_slots(case, workers)
    detail["free_slots"] = free
    if free > ahead:
        others = f"{formats.count(ahead, 'task')} before it" if ahead else "nothing before it"
        text = f"Nothing holds it back: with {formats.count(free, 'free slot')} and {others}, the next claim takes it."
        return [Finding(code=Code.CLAIMABLE, text=text, remedy="Nothing to do.", detail=detail)]
    rate, endings = rate_of(case), ahead + 1 - free
    detail |= {"ended": rate.ended, "window_sec": round(rate.window_sec, 1), "rate_per_min": None, "eta_sec": None}
    if rate.per_sec is not None:
        detail |= {"rate_per_min": round(60 * rate.per_sec, 3), "eta_sec": round(endings / rate.per_sec, 1)}
    text = f"{_behind(ahead)}, {_when(endings, rate, exact=ahead <= COUNTED_MOST)}."
    remedy = "Nothing to do; to run it earlier, raise its priority."
    return [Finding(code=Code.BEHIND, severity="delaying", text=text, remedy=remedy, detail=detail)]


def _behind(ahead: int) -> str:
    if ahead > COUNTED_MOST:
        return f"It is behind more than {COUNTED_MOST:,} tasks"
    return f"It is behind {formats.count(ahead, 'task')}" if ahead else "It is next in its queue"


def _when(ends_needed: int, rate: Rate, *, exact: bool) -> str:
    window = formats.roughly(rate.window_sec)
    if rate.per_sec is None:
        return f"with an unknown waiting time: no attempt of this queue ended in the last {window}"
    about = "about" if exact else "more than"
    basis = f"{formats.count(rate.ended, 'attempt')} ended in the last {window}"
    return f"{about} {formats.roughly(ends_needed / rate.per_sec)} at the present rate ({basis})"
