"""What holds a pending task back: freeze, pause, start time, limit, the tasks before it; and when it expires."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any
from urllib.parse import quote

from tasks_app import formats
from tasks_app.models import Freeze, Hold
from tasks_app.models.querysets import short_id
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.explain.findings import SHOWN, Case, Code, Finding, blocking, found, select
from tasks_app.monitoring.explain.workers import LiveWorker, free_slots
from tasks_app.postgresql import clock

SWEEPS_SOON_SEC = 5.0
"""Sweeps run several times a second in every worker and web process: after this long, none is running."""
ERROR_CHARS = 200
COUNTED_MOST = 1000
WINDOW = timedelta(minutes=15)
ATTEMPTS_MOST = 1000
"""If more attempts ended within the window, the rate is that of the last ones."""
NO_ACTION = "Nothing to do: it becomes claimable at that time."


def frozen(case: Case) -> Iterator[Finding]:
    """Find a freeze."""
    freeze = Freeze.objects.first()
    if freeze is not None:
        since = case.since(freeze.frozen_at)
        yield blocking(
            Code.FROZEN,
            f"Everything is frozen by {freeze.frozen_by} since {since}: {freeze.reason}.",
            "When the reason is gone, run manage.py absurd_thaw. Until then new tasks stay pending.",
            by=freeze.frozen_by,
            since=freeze.frozen_at,
            reason=freeze.reason,
        )


def paused(case: Case) -> Iterator[Finding]:
    """Find a pause of the queue."""
    queue = case.task.queue
    if queue.paused_at is not None:
        since, reason = case.since(queue.paused_at), queue.pause_reason or "no reason given"
        yield blocking(
            Code.QUEUE_PAUSED,
            f"The queue {queue.name} is paused by {queue.paused_by} since {since}: {reason}.",
            f"Resume it on its page, or with POST /api/absurd/queues/{quote(queue.name, safe='')}/resume.",
            queue=queue.name,
            by=queue.paused_by,
            since=queue.paused_at,
            reason=queue.pause_reason,
        )


def future(case: Case) -> Iterator[Finding]:
    """Find a start time in the future: scheduled, or the delay before a retry."""
    task = case.task
    if not task.hold & Hold.FUTURE:
        return
    at, when = task.runnable_at, case.until(task.runnable_at)
    detail: dict[str, Any] = {"runnable_at": at, "in_sec": case.sec_until(at)}
    if at <= case.as_of:
        late = case.sec_since(at) > SWEEPS_SOON_SEC
        remedy = "Start a worker or the web server: their sweeps make due tasks claimable." if late else NO_ACTION
        text = f"Its start time has passed, {when}, but no sweep has made it claimable yet."
        yield blocking(Code.DUE, text, remedy, **detail)
    elif not task.error:
        yield blocking(Code.SCHEDULED, f"It is scheduled: it may start {when}.", NO_ACTION, **detail)
    else:
        retry = f"retry {task.retry_count} of {task.max_retries}"
        text = f"{_last_attempt(case)} The next attempt, {retry}, may start {when}."
        detail |= {"retry": task.retry_count, "max_retries": task.max_retries, **_failure(case)}
        yield blocking(Code.RETRYING, text, NO_ACTION, **detail)


def _last_attempt(case: Case) -> str:
    task = case.task
    return f"Attempt {task.claim_epoch} failed as {task.failure_class}: {case.error(ERROR_CHARS)}."


def _failure(case: Case) -> dict[str, Any]:
    task = case.task
    return {"attempt": task.claim_epoch, "failure_class": task.failure_class, "error": case.error(ERROR_CHARS)}


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
    by_limit = [list(slots) for _, slots in groupby(rows, key=lambda row: row["id"])]
    full = [_full(case, slots) for slots in by_limit if slots[0]["free"] == 0]
    if full or not task.hold & Hold.LIMIT or task.hold & (Hold.FUTURE | Hold.DEPENDENCY):
        return full
    return [_turn([slots[0] for slots in by_limit])]


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
    return blocking(
        Code.LIMIT_FULL,
        f"The concurrency limit of {limit['scope']} {limit['name']} is full, "
        f"{limit['taken']} of {limit['size']}{held_by}.",
        "Nothing to do: it is claimed after one of them has ended. To run more at once, raise the limit.",
        **{name: limit[name] for name in ("scope", "name", "size", "taken")},
        held_by=[
            {
                "task_id": str(slot["task_id"]),
                "task_name": slot["task_name"],
                "worker": slot["worker"],
                "since": slot["claimed_at"] and clock.stamp(slot["claimed_at"]),
            }
            for slot in holders
        ],
    )


def _turn(limits: Sequence[dict[str, Any]]) -> Finding:
    names = " and ".join(
        f"the limit of {each['scope']} {each['name']} has {formats.count(each['free'], 'free slot')}" for each in limits
    )
    if limits:
        text = f"It is held by a concurrency limit: {names}, for tasks that are before it."
        remedy = "Nothing to do: sweeps make it claimable when its turn has come."
    else:
        text = "It is held by a concurrency limit that does not exist any more."
        remedy = "Set the limit again; to make its tasks claimable at once, remove it after that."
    shown = [{name: limit[name] for name in ("scope", "name", "size", "taken", "free")} for limit in limits]
    return blocking(Code.LIMIT_TURN, text, remedy, limits=shown)


def last_attempt(case: Case) -> Iterator[Finding]:
    """Return how the previous attempt ended, once the task may run again."""
    task = case.task
    if not task.error or task.hold & Hold.FUTURE:
        return
    if task.failure_class in (FailureClass.DRAINED, FailureClass.UNAVAILABLE):
        text = f"Attempt {task.claim_epoch} was returned without using up a retry: {case.error(ERROR_CHARS)}."
    else:
        text = f"{_last_attempt(case)} The next attempt is retry {task.retry_count} of {task.max_retries}."
    yield found(Code.LAST_ATTEMPT, text, **_failure(case))


def ends(case: Case) -> Iterator[Finding]:
    """Return when the task fails unless it was claimed, or has ended, by then."""
    task = case.task
    expires_at = task.expires_at if task.claim_epoch == 0 else None
    for code, at, subject, effect in (
        (Code.EXPIRES, expires_at, "queue timeout", "it fails unless it was claimed by then"),
        (Code.DEADLINE, task.deadline_at, "total timeout", "no attempt starts or continues after that"),
    ):
        if at is not None:
            left_sec = case.sec_until(at)
            remedy = "Nothing to do: the next sweep fails it; retry it then if it is still needed."
            text = f"Its {subject} ends {case.until(at)}: {effect}."
            yield found(code, text, remedy if left_sec <= 0 else "", at=at, left_sec=left_sec)


# Counted in the order of the index; otherwise the planner reads the table until it has found enough rows.
_AHEAD = f"""
SELECT count(*)::integer AS n FROM (
    SELECT FROM tasks_app_task
    WHERE queue_name = %(queue)s AND status = 'pending' AND hold = 0 AND (rank, id) < (%(rank)s, %(id)s)
    ORDER BY rank, id LIMIT {COUNTED_MOST + 1}
) AS ahead
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
    start = max(moment for moment in (since, row["first"], row["cut"]) if moment is not None)
    return Rate(ended=row["n"], window_sec=case.sec_since(start))


def position(case: Case, workers: Sequence[LiveWorker], *, blocked: bool) -> Iterator[Finding]:
    """Return the task's position, and when its turn comes if nothing else holds it back."""
    ahead = ahead_of(case)
    exact = ahead <= COUNTED_MOST
    detail: dict[str, Any] = {"ahead": min(ahead, COUNTED_MOST), "ahead_is_exact": exact}
    if blocked:
        if ahead:
            yield found(Code.BEHIND, f"{_behind(ahead)}.", **detail)
        return
    free = detail["free_slots"] = free_slots(case, workers)
    if free > ahead:
        others = f"{formats.count(ahead, 'task')} before it" if ahead else "nothing before it"
        text = f"Nothing holds it back: with {formats.count(free, 'free slot')} and {others}, the next claim takes it."
        yield found(Code.CLAIMABLE, text, "Nothing to do.", **detail)
        return
    rate, endings = rate_of(case), ahead + 1 - free
    detail |= {"ended": rate.ended, "window_sec": rate.window_sec, "rate_per_min": None, "eta_sec": None}
    if rate.per_sec is not None:
        detail |= {"rate_per_min": round(60 * rate.per_sec, 3), "eta_sec": endings / rate.per_sec}
    text = f"{_behind(ahead)}, {_when(endings, rate, exact=exact)}."
    yield found(
        Code.BEHIND, text, "Nothing to do; to run it earlier, raise its priority.", severity="delaying", **detail
    )


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
