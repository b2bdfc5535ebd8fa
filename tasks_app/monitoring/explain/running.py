"""How a claimed task runs: its worker, its lease, the time that is left, and a requested stop."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from tasks_app import formats
from tasks_app.engine import backoff, registry
from tasks_app.models import Attempt, TaskEvent
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.explain import holds
from tasks_app.monitoring.explain.findings import Case, Code, Finding, stamp
from tasks_app.monitoring.workers import state_of

EVENTS_LOOKED_AT = 100


def findings(case: Case) -> list[Finding]:
    """Return faults of the claim first, then its progress."""
    found = [*_cancelling(case), *_stopping(case), *_stalled(case), *_worker_silent(case)]
    if case.task.claimed_at is not None:
        found += [_running(case, case.task.claimed_at), _timeout(case, case.task.claimed_at)]
        found += [*holds.ends(case), *_lease(case), _idle(case, case.task.claimed_at)]
    return found


def _cancelling(case: Case) -> list[Finding]:
    task = case.task
    if task.cancel_requested_at is None:
        return []
    kill_at = task.cancel_requested_at + timedelta(seconds=settings.ABSURD_STOP_GRACE_SEC)
    left_sec = -case.sec_since(kill_at)
    reason = f": {task.cancel_reason}" if task.cancel_reason else ""
    text = f"{task.cancel_requested_by} requested its cancellation {case.since(task.cancel_requested_at)}{reason}."
    if left_sec > 0:
        text += f" Its worker ends the attempt within {formats.duration(left_sec)}, if necessary by killing it."
        remedy = "Nothing to do: it is cancelled when the worker has ended the attempt."
    else:
        text += f" The attempt should have ended {formats.duration(-left_sec)} ago."
        remedy = "Check whether its worker is live; if not, the task is cancelled when the lease has expired."
    detail = {
        "by": task.cancel_requested_by,
        "at": stamp(task.cancel_requested_at),
        "reason": task.cancel_reason,
        "grace_sec": settings.ABSURD_STOP_GRACE_SEC,
        "left_sec": round(left_sec, 1),
    }
    return [Finding(code=Code.CANCELLING, text=text, remedy=remedy, detail=detail)]


def _stopping(case: Case) -> list[Finding]:
    """Find a stop by the worker itself: the attempt ran too long, was idle, or filled the disk."""
    if case.task.claim_token is None:
        return []
    stopping = Attempt.objects.filter(claim_token=case.task.claim_token, stop_asked_at__isnull=False)
    attempt = stopping.only("stop_asked_at", "stop_due_at", "stop_reason").first()
    if attempt is None or attempt.stop_asked_at is None:
        return []
    if attempt.stop_due_at is None:
        return [_held(attempt.stop_asked_at, attempt.stop_reason)]
    if case.task.cancel_requested_at is not None:
        return []
    text = f"Its worker has been stopping the attempt since {case.since(attempt.stop_asked_at)}: {attempt.stop_reason}."
    detail = {
        "since": stamp(attempt.stop_asked_at),
        "due_at": stamp(attempt.stop_due_at),
        "left_sec": round(-case.sec_since(attempt.stop_due_at), 1),
        "reason": attempt.stop_reason,
    }
    remedy = f"Nothing to do: its slot is free {case.until(attempt.stop_due_at)}, if necessary by killing the attempt."
    return [Finding(code=Code.STOPPING, text=text, remedy=remedy, detail=detail)]


def _held(stop_asked_at: datetime, reason: str) -> Finding:
    """Return the finding for a killed process that does not end because it waits for a device or a file system."""
    text = f"Its worker killed the attempt, but it does not end and keeps its slot and memory: {reason}."
    remedy = "State D waits for a device or file system: check it (`dmesg`, `df`); if it stays, reboot the host."
    detail = {"since": stamp(stop_asked_at), "reason": reason}
    return Finding(code=Code.STOPPING, text=text, remedy=remedy, detail=detail)


def _stalled(case: Case) -> list[Finding]:
    task = case.task
    if task.lease_until is None or task.lease_until >= case.as_of:
        return []
    overdue_sec = case.sec_since(task.lease_until)
    text = (
        f"It is stalled: {task.worker} has not renewed its lease, which expired {case.since(task.lease_until)}. It "
        f"{_after_loss(case)}."
    )
    remedy = (
        "Nothing to do: a worker or web process returns it after watching the database for a full lease, "
        f"{task.lease_sec} s, without a break. To return it at once, requeue it on its page."
    )
    detail = {"lease_until": stamp(task.lease_until), "overdue_sec": round(overdue_sec, 1), "lease_sec": task.lease_sec}
    return [Finding(code=Code.STALLED, text=text, remedy=remedy, detail=detail)]


def _after_loss(case: Case) -> str:
    """Write what happens to the task after a lost attempt."""
    task, spec = case.task, registry.find(case.task.task_name)
    verdict = backoff.judge(
        FailureClass.LOST,
        retry_count=task.retry_count,
        max_retries=task.max_retries,
        crash_count=task.crash_count,
        cancel_requested=task.cancel_requested_at is not None,
        retried=backoff.RETRIED if spec is None or spec.retried is None else spec.retried,
    )
    if verdict.to == "pending":
        return f"then returns to the queue, for retry {task.retry_count + 1} of {task.max_retries}"
    if verdict.quarantined:
        return f"then fails and is quarantined, because {task.crash_count} attempts crashed or were lost"
    return (
        "is then cancelled, as requested"
        if verdict.to == "cancelled"
        else "then fails, because its retries are used up"
    )


def _worker_silent(case: Case) -> list[Finding]:
    worker = case.task.worker
    if worker is None:
        return []
    state = state_of(worker, case.as_of, busy=True)
    if state in ("active", "draining", "paused"):
        return []
    said = "stopped" if state == "stopped" else f"is {state}: it last reported"
    text = f"Its worker {worker} {said} {case.since(worker.stopped_at or worker.heartbeat_at)}."
    remedy = "Check whether that process and its host are up. The task returns to the queue when its lease has expired."
    detail = {"worker": worker.label, "host": worker.host, "state": state, "heartbeat_at": stamp(worker.heartbeat_at)}
    return [Finding(code=Code.WORKER_SILENT, text=text, remedy=remedy, detail=detail)]


def _running(case: Case, started_at: datetime) -> Finding:
    task = case.task
    retry = f", retry {task.retry_count} of {task.max_retries}," if task.retry_count else ""
    text = f"Attempt {task.claim_epoch}{retry} runs on {task.worker} since {case.since(started_at)}"
    if task.progress is not None:
        text += f" and is {100 * task.progress:.0f} % done"
    if task.progress_message:
        text += f": {task.progress_message.rstrip('.')}"
    detail = {
        "worker": task.worker.label if task.worker else None,
        "host": task.worker.host if task.worker else None,
        "attempt": task.claim_epoch,
        "retry": task.retry_count,
        "max_retries": task.max_retries,
        "since": stamp(started_at),
        "running_sec": round(case.sec_since(started_at), 1),
        "progress": task.progress,
        "progress_message": task.progress_message,
    }
    return Finding(code=Code.RUNNING, text=f"{text}.", detail=detail)


def _timeout(case: Case, started_at: datetime) -> Finding:
    task = case.task
    end = started_at + timedelta(seconds=task.timeout_sec)
    left_sec = -case.sec_since(end)
    stopped = "is stopped" if left_sec > 0 else "should have been stopped"
    text = f"The timeout of the attempt is {formats.duration(task.timeout_sec)}; it {stopped} {case.until(end)}."
    remedy = "" if left_sec > 0 else "Check whether its worker is live."
    detail = {"timeout_sec": task.timeout_sec, "at": stamp(end), "left_sec": round(left_sec, 1)}
    return Finding(code=Code.TIMEOUT, text=text, remedy=remedy, detail=detail)


def _lease(case: Case) -> list[Finding]:
    task = case.task
    if task.lease_until is None or task.lease_until < case.as_of:
        return []
    renewed_at = task.lease_until - timedelta(seconds=task.lease_sec)
    text = f"Its lease holds until {formats.moment(task.lease_until)}, renewed {case.since(renewed_at)}."
    detail = {
        "lease_until": stamp(task.lease_until),
        "left_sec": round(-case.sec_since(task.lease_until), 1),
        "renewed_at": stamp(renewed_at),
        "lease_sec": task.lease_sec,
    }
    return [Finding(code=Code.LEASE, text=text, detail=detail)]


def _idle(case: Case, started_at: datetime) -> Finding:
    """Return when progress was last reported; the worker may have seen other activity since."""
    task = case.task
    events = TaskEvent.objects.filter(task_id=task.task_id).order_by("-id")
    recent = events.values_list("event_type", "attempt", "created_at")[:EVENTS_LOOKED_AT]
    reported_at = next(
        (at for event_type, attempt, at in recent if event_type == "progress" and attempt == task.claim_epoch), None
    )
    text = (
        f"It last reported progress {case.since(reported_at)}."
        if reported_at
        else "It has not reported any progress yet."
    )
    if task.idle_timeout_sec is not None:
        limit = formats.duration(task.idle_timeout_sec)
        text += f" It is stopped after {limit} without progress, output or processor time."
    idle_sec = round(case.sec_since(reported_at or started_at), 1)
    detail = {"progress_at": stamp(reported_at), "idle_sec": idle_sec, "idle_timeout_sec": task.idle_timeout_sec}
    return Finding(code=Code.IDLE, text=text, detail=detail)
