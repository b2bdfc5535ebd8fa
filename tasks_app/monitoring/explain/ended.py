"""How a finished task ended, why, and how to run it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tasks_app import formats
from tasks_app.engine import archive
from tasks_app.models import ArchivedTask, Attempt, Task, TaskEvent, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.explain.findings import Case, Code, Finding, found, select

ERROR_CHARS = 300
READ_MOST = 100
COUNTED_MOST = 1000

_AWAITED = f"""
SELECT count(*)::integer AS n FROM (
    SELECT FROM tasks_app_taskdependency AS edge JOIN tasks_app_task AS child ON child.task_id = edge.child_task_id
    WHERE edge.parent_task_id = %(task_id)s
        AND (child.status = 'pending' AND child.hold & 2 > 0 OR child.unrunnable_because IS NOT NULL)
    LIMIT {COUNTED_MOST + 1}
) AS few_rows
"""  # noqa: S608 - a constant


@dataclass(frozen=True, kw_only=True)
class End:
    """The event that finished the task, and who requested its cancellation before."""

    event_type: str = ""
    actor: str = ""
    reason: str = ""
    requested_by: str = ""


def findings(case: Case) -> Iterator[Finding]:
    """Return the outcome first, then its attempts and the tasks that depend on it."""
    yield _outcome(case)
    yield _attempts(case)
    yield from _awaited(case)


def _outcome(case: Case) -> Finding:
    task, end = case.task, _end_of(case)
    if task.status == TaskStatus.CANCELLED:
        return _cancelled(case, end)
    if task.status == TaskStatus.COMPLETED:
        return _completed(case)
    if task.unrunnable_because is not None:
        return _unrunnable(case, task.unrunnable_because)
    if task.quarantined_at is not None:
        return _quarantined(case)
    if end.event_type == "expired":
        remedy = "Retry it if it is still needed; a retry has no queue timeout. Find out why the queue was slow."
        return found(Code.EXPIRED, f"It expired at {_end(case)}.", remedy, **_facts(case))
    return _failed(case)


def _end_of(case: Case) -> End:
    events = TaskEvent.objects.filter(task_id=case.task.task_id).order_by("-id")
    recent = list(events.values("event_type", "to_status", "actor", "reason", "attempt")[:READ_MOST])
    last = next((event for event in recent if event["to_status"] == case.task.status), None)
    if last is None:
        return End()
    requested = (
        e["actor"] for e in recent if e["event_type"] == "cancel_requested" and e["attempt"] == last["attempt"]
    )
    return End(
        event_type=last["event_type"], actor=last["actor"], reason=last["reason"], requested_by=next(requested, "")
    )


def _end(case: Case, how: str = "") -> str:
    """Write when and how the task ended, and its error."""
    return f"{case.since(case.task.completed_at)}{how}: {case.error(ERROR_CHARS)}"


def _facts(case: Case) -> dict[str, Any]:
    task = case.task
    error = formats.first_line(task.error, ERROR_CHARS)
    return {"at": task.completed_at, "failure_class": task.failure_class, "error": error}


def _completed(case: Case) -> Finding:
    if case.task.failure_class == FailureClass.NO_WORK:
        return found(Code.NO_WORK, f"It found nothing to do and completed at {_end(case)}.", **_facts(case))
    took_sec = case.task.duration_sec
    took = "" if took_sec is None else f", {formats.duration(took_sec)} after its claim"
    at = case.task.completed_at
    return found(Code.COMPLETED, f"It completed at {case.since(at)}{took}.", at=at, took_sec=took_sec)


def _cancelled(case: Case, end: End) -> Finding:
    actor = end.requested_by or end.actor or "an unknown actor (its events are gone)"
    reason, at = f": {end.reason}" if end.reason else "", case.task.completed_at
    stopped = f" It was running; {end.actor} stopped it." if end.requested_by and end.actor != end.requested_by else ""
    text = f"It was cancelled by {actor} at {case.since(at)}{reason}.{stopped}"
    return found(Code.CANCELLED, text, "Retry it if it is needed after all.", by=actor, reason=end.reason, at=at)


def _unrunnable(case: Case, because: object) -> Finding:
    root = Task.objects.filter(task_id=str(because)).first() or archive.find_task(UUID(str(because)))
    name, why = f"the task {because}", ""
    remedy = "That task cannot be retried any more: respawn it, then this task with the new one as dependency."
    if root is not None:
        name = f"{root.task_name} {because}"
        error = formats.first_line(root.error, ERROR_CHARS).rstrip(".")
        why = f", {root.status} as {root.failure_class}: {error}" if root.failure_class else f", now {root.status}"
        if not archive.is_archived(root):
            remedy = f"Repair the cause and retry {name}: this task then waits for it again."
    at = case.since(case.task.completed_at)
    text = f"It failed at {at} without an attempt, because it depends on {name}{why}."
    return found(Code.UNRUNNABLE, text, remedy, **_facts(case), because=str(because))


def _quarantined(case: Case) -> Finding:
    task = case.task
    return found(
        Code.QUARANTINED,
        f"It is quarantined since {case.since(task.quarantined_at)}: {task.crash_count} attempts crashed, ran out "
        f"of memory or were lost, the last as {task.failure_class}: {case.error(ERROR_CHARS)}.",
        "Find the cause in the logs of its attempts. Only a retry by an operator lifts the quarantine.",
        **_facts(case),
        since=task.quarantined_at,
        crash_count=task.crash_count,
    )


def _failed(case: Case) -> Finding:
    task = case.task
    if task.failure_class == FailureClass.INVALID:
        remedy = "It is never retried automatically. Correct the input and retry it, or spawn it with other params."
    else:
        remedy = "Read the log of its last attempt, repair the cause, then retry it."
    used = ""
    if task.max_retries and task.retry_count >= task.max_retries:
        used = f" Retries used: {task.retry_count} of {task.max_retries}."
    text = f"It failed at {_end(case, f' as {task.failure_class}')}.{used}"
    detail: dict[str, Any] = {"retries_used": task.retry_count, "max_retries": task.max_retries}
    return found(Code.FAILED, text, remedy, **_facts(case), **detail)


def _attempts(case: Case) -> Finding:
    task = case.task
    if task.claim_epoch == 0:
        return found(Code.ATTEMPTS, "No attempt was ever started.", attempts=0, outcomes={})
    rows = Attempt.objects.filter(task_id=task.task_id).order_by("-number").values_list("outcome", flat=True)
    outcomes = Counter(outcome or "unfinished" for outcome in rows[:READ_MOST])
    listed = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    retries = f"used {task.retry_count} of {task.max_retries} retries"
    text = f"It had {formats.count(task.claim_epoch, 'attempt')} ({listed}) and {retries}."
    detail: dict[str, Any] = {"outcomes": dict(outcomes), "retries_used": task.retry_count}
    return found(Code.ATTEMPTS, text, attempts=task.claim_epoch, **detail)


def _awaited(case: Case) -> Iterator[Finding]:
    if case.task.status == TaskStatus.COMPLETED:
        return
    n = select(_AWAITED, {"task_id": case.task.task_id})[0]["n"]
    if n:
        many = f"more than {COUNTED_MOST:,} tasks" if n > COUNTED_MOST else formats.count(n, "task")
        text = f"Tasks that depend on it directly and are blocked by it: {many}."
        yield found(Code.AWAITED, text, "They become claimable when it has completed.", tasks=n)


def archived(task: ArchivedTask) -> Finding:
    """Return the finding for a task in the archive."""
    error = formats.first_line(str(task.task.get("error") or ""), ERROR_CHARS)
    ended = f"It {'was ' if task.status == TaskStatus.CANCELLED else ''}{task.status}"
    at, archived_at = formats.moment(task.completed_at), formats.moment(task.archived_at)
    return found(
        Code.ARCHIVED,
        f"{ended} at {at} and was archived at {archived_at}{f': {error}' if error else ''}.",
        "Respawn it if it is needed again; an archived task cannot be retried.",
        status=task.status,
        at=task.completed_at,
        archived_at=task.archived_at,
    )
