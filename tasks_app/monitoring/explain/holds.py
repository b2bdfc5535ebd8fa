"""What an operator, the clock or an earlier attempt has decided: freeze, pause, start times, ends of patience."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks_app import formats
from tasks_app.models import Freeze, Hold
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.explain.findings import Case, Code, Finding, stamp

SWEEPS_SOON_SEC = 5.0
"""Sweeps come several times a second wherever a worker or web process runs; later than that, none does."""
ERROR_CHARS = 200
BY_ITSELF = "Nothing to do: it comes up by itself."


def frozen(case: Case) -> list[Finding]:
    """The emergency stop."""
    freeze = Freeze.objects.first()
    if freeze is None:
        return []
    since = case.since(freeze.frozen_at)
    return [
        Finding(
            code=Code.FROZEN,
            weight="blocks",
            text=f"Everything is frozen by {freeze.frozen_by} since {since}: {freeze.reason}.",
            do="Once that has gone, thaw everything: manage.py absurd_thaw. Until then spawns are accepted and kept.",
            detail={"by": freeze.frozen_by, "since": stamp(freeze.frozen_at), "reason": freeze.reason},
        )
    ]


def paused(case: Case) -> list[Finding]:
    """A pause of the queue."""
    queue = case.task.queue
    if queue.paused_at is None:
        return []
    since, reason = case.since(queue.paused_at), queue.pause_reason or "no reason given"
    return [
        Finding(
            code=Code.QUEUE_PAUSED,
            weight="blocks",
            text=f"The queue {queue.name} is paused by {queue.paused_by} since {since}: {reason}.",
            do=f"Resume it on its page, or POST /api/absurd/queues/{quote(queue.name, safe='')}/resume.",
            detail={
                "queue": queue.name,
                "by": queue.paused_by,
                "since": stamp(queue.paused_at),
                "reason": queue.pause_reason,
            },
        )
    ]


def future(case: Case) -> list[Finding]:
    """A start that is still to come, because it was asked for so or because an attempt failed."""
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
        return [Finding(code=Code.SCHEDULED, weight="blocks", text=text, do=BY_ITSELF, detail=detail)]
    retry = f"retry {task.retry_count} of {task.max_retries}"
    text = f"{_last_attempt(case)} The next try, {retry}, may start {case.until(task.runnable_at)}."
    detail |= {"retry": task.retry_count, "max_retries": task.max_retries, **_failure(case)}
    return [Finding(code=Code.RETRYING, weight="blocks", text=text, do=BY_ITSELF, detail=detail)]


def _due(case: Case, detail: dict[str, Any]) -> Finding:
    late = case.sec_since(case.task.runnable_at) > SWEEPS_SOON_SEC
    remedy = "Start a worker or the web server: their sweeps let it forward." if late else BY_ITSELF
    text = f"Its time came {case.until(case.task.runnable_at)}, but no sweep has let it forward yet."
    return Finding(code=Code.DUE, weight="blocks", text=text, do=remedy, detail=detail)


def _last_attempt(case: Case) -> str:
    task = case.task
    return f"Attempt {task.claim_epoch} failed as {task.failure_class}: {_error(case)}."


def _error(case: Case) -> str:
    return formats.first_line(case.task.error, ERROR_CHARS).rstrip(".") or "no message"


def _failure(case: Case) -> dict[str, Any]:
    return {"attempt": case.task.claim_epoch, "failure_class": case.task.failure_class, "error": _error(case)}


def last_attempt(case: Case) -> list[Finding]:
    """How the attempt before ended, once the task may run again."""
    task = case.task
    if not task.error or task.hold & Hold.FUTURE:
        return []
    if task.failure_class in (FailureClass.DRAINED, FailureClass.UNAVAILABLE):
        text = f"Attempt {task.claim_epoch} was returned free of charge: {_error(case)}."
    else:
        text = f"{_last_attempt(case)} What follows is retry {task.retry_count} of {task.max_retries}."
    return [Finding(code=Code.LAST_ATTEMPT, text=text, detail=_failure(case))]


def ends(case: Case) -> list[Finding]:
    """When the task is failed without having run, or run to the end."""
    task, found = case.task, []
    if task.expires_at is not None and task.claim_epoch == 0:
        text = f"It expires {case.until(task.expires_at)}: without an attempt by then it fails."
        found.append(_end(case, Code.EXPIRES, text, task.expires_at))
    if task.deadline_at is not None:
        text = f"Its total budget ends {case.until(task.deadline_at)}: no attempt begins or goes on after that."
        found.append(_end(case, Code.DEADLINE, text, task.deadline_at))
    return found


def _end(case: Case, code: Code, text: str, moment: datetime) -> Finding:
    left_sec = -case.sec_since(moment)
    remedy = "Nothing to do: the next sweep fails it; retry it then if it is still wanted." if left_sec <= 0 else ""
    return Finding(code=code, text=text, do=remedy, detail={"at": stamp(moment), "left_sec": round(left_sec, 1)})
