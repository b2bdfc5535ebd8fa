"""How a claimed task runs: its worker, its lease, the time that is left, and a requested stop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from tasks_app import formats
from tasks_app.engine import backoff, registry
from tasks_app.models import Attempt, TaskEvent
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.explain import pending
from tasks_app.monitoring.explain.findings import Case, Code, Finding, found
from tasks_app.monitoring.workers import LIVE_STATES, state_of

EVENTS_MOST = 100


def findings(case: Case) -> Iterator[Finding]:
    """Return faults of the claim first, then its progress."""
    for faults in (_cancelling, _stopping, _stalled, _worker_silent):
        yield from faults(case)
    started_at = case.task.claimed_at
    if started_at is not None:
        yield _running(case, started_at)
        yield _timeout(case, started_at)
        yield from pending.ends(case)
        yield from _lease(case)
        yield _idle(case, started_at)


def _cancelling(case: Case) -> Iterator[Finding]:
    task, grace_sec = case.task, settings.ABSURD_STOP_GRACE_SEC
    if task.cancel_requested_at is None:
        return
    left_sec = case.sec_until(task.cancel_requested_at + timedelta(seconds=grace_sec))
    reason = f": {task.cancel_reason}" if task.cancel_reason else ""
    text = f"{task.cancel_requested_by} requested its cancellation {case.since(task.cancel_requested_at)}{reason}."
    if left_sec > 0:
        text += f" Its worker ends the attempt within {formats.duration(left_sec)}, if necessary by killing it."
        remedy = "Nothing to do: it is cancelled when the worker has ended the attempt."
    else:
        text += f" The attempt should have ended {formats.duration(-left_sec)} ago."
        remedy = "Check whether its worker is live; if not, the task is cancelled when the lease has expired."
    detail: dict[str, Any] = {
        "by": task.cancel_requested_by,
        "at": task.cancel_requested_at,
        "reason": task.cancel_reason,
    }
    yield found(Code.CANCELLING, text, remedy, **detail, grace_sec=grace_sec, left_sec=left_sec)


def _stopping(case: Case) -> Iterator[Finding]:
    """Find a stop by the worker itself: the attempt ran too long, was idle, or filled the disk."""
    if case.task.claim_token is None:
        return
    stopping = Attempt.objects.filter(claim_token=case.task.claim_token, stop_asked_at__isnull=False)
    attempt = stopping.only("stop_asked_at", "stop_due_at", "stop_reason").first()
    if attempt is None:
        return
    reason, due_at = attempt.stop_reason, attempt.stop_due_at
    if due_at is None:  # a killed process that waits for a device or a file system
        text = f"Its worker killed the attempt, but it does not end and keeps its slot and memory: {reason}."
        remedy = "State D waits for a device or file system: check it (`dmesg`, `df`); if it stays, reboot the host."
        yield found(Code.STOPPING, text, remedy, since=attempt.stop_asked_at, reason=reason)
    elif case.task.cancel_requested_at is None:
        text = f"Its worker has been stopping the attempt since {case.since(attempt.stop_asked_at)}: {reason}."
        remedy = f"Nothing to do: its slot is free {case.until(due_at)}, if necessary by killing the attempt."
        left_sec = case.sec_until(due_at)
        yield found(
            Code.STOPPING, text, remedy, since=attempt.stop_asked_at, due_at=due_at, left_sec=left_sec, reason=reason
        )


def _stalled(case: Case) -> Iterator[Finding]:
    task = case.task
    if task.lease_until is None or task.lease_until >= case.as_of:
        return
    yield found(
        Code.STALLED,
        f"It is stalled: {task.worker} has not renewed its lease, which expired {case.since(task.lease_until)}. It "
        f"{_after_loss(case)}.",
        "Nothing to do: a worker or web process returns it after watching the database for a full lease, "
        f"{task.lease_sec} s, without a break. To return it at once, requeue it on its page.",
        lease_until=task.lease_until,
        overdue_sec=case.sec_since(task.lease_until),
        lease_sec=task.lease_sec,
    )


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
    if verdict.to == "cancelled":
        return "is then cancelled, as requested"
    return "then fails, because its retries are used up"


def _worker_silent(case: Case) -> Iterator[Finding]:
    worker = case.task.worker
    state = state_of(worker, case.as_of, busy=True) if worker else "active"
    if worker is None or state in LIVE_STATES:
        return
    was = "stopped" if state == "stopped" else f"is {state}: it last reported"
    yield found(
        Code.WORKER_SILENT,
        f"Its worker {worker} {was} {case.since(worker.stopped_at or worker.heartbeat_at)}.",
        "Check whether that process and its host are up. The task returns to the queue when its lease has expired.",
        worker=worker.label,
        host=worker.host,
        state=state,
        heartbeat_at=worker.heartbeat_at,
    )


def _running(case: Case, started_at: datetime) -> Finding:
    task = case.task
    retry = f", retry {task.retry_count} of {task.max_retries}," if task.retry_count else ""
    text = f"Attempt {task.claim_epoch}{retry} runs on {task.worker} since {case.since(started_at)}"
    if task.progress is not None:
        text += f" and is {100 * task.progress:.0f} % done"
    if task.progress_message:
        text += f": {task.progress_message.rstrip('.')}"
    return found(
        Code.RUNNING,
        f"{text}.",
        worker=task.worker.label if task.worker else None,
        host=task.worker.host if task.worker else None,
        attempt=task.claim_epoch,
        retry=task.retry_count,
        max_retries=task.max_retries,
        since=started_at,
        running_sec=case.sec_since(started_at),
        progress=task.progress,
        progress_message=task.progress_message,
    )


def _timeout(case: Case, started_at: datetime) -> Finding:
    timeout_sec = case.task.timeout_sec
    end = started_at + timedelta(seconds=timeout_sec)
    left_sec = case.sec_until(end)
    stopped = "is stopped" if left_sec > 0 else "should have been stopped"
    text = f"The timeout of the attempt is {formats.duration(timeout_sec)}; it {stopped} {case.until(end)}."
    remedy = "" if left_sec > 0 else "Check whether its worker is live."
    return found(Code.TIMEOUT, text, remedy, timeout_sec=timeout_sec, at=end, left_sec=left_sec)


def _lease(case: Case) -> Iterator[Finding]:
    until, lease_sec = case.task.lease_until, case.task.lease_sec
    if until is not None and until >= case.as_of:
        renewed_at = until - timedelta(seconds=lease_sec)
        text = f"Its lease holds until {formats.moment(until)}, renewed {case.since(renewed_at)}."
        detail: dict[str, Any] = {"lease_until": until, "left_sec": case.sec_until(until), "renewed_at": renewed_at}
        yield found(Code.LEASE, text, **detail, lease_sec=lease_sec)


def _idle(case: Case, started_at: datetime) -> Finding:
    """Return when progress was last reported; the worker may have seen other activity since."""
    task = case.task
    events = TaskEvent.objects.filter(task_id=task.task_id).order_by("-id")
    recent = events.values_list("event_type", "attempt", "created_at")[:EVENTS_MOST]
    reports = (at for event_type, attempt, at in recent if event_type == "progress" and attempt == task.claim_epoch)
    at = next(reports, None)
    text = f"It last reported progress {case.since(at)}." if at else "It has not reported any progress yet."
    if task.idle_timeout_sec is not None:
        limit = formats.duration(task.idle_timeout_sec)
        text += f" It is stopped after {limit} without progress, output or processor time."
    idle_sec = case.sec_since(at or started_at)
    return found(Code.IDLE, text, progress_at=at, idle_sec=idle_sec, idle_timeout_sec=task.idle_timeout_sec)
