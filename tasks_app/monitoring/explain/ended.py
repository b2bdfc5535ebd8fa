"""How a finished task ended, why, and how to run it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from tasks_app import formats
from tasks_app.engine import archive
from tasks_app.models import ArchivedTask, Attempt, Task, TaskEvent, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.explain.findings import Case, Code, Finding, select, stamp

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


def findings(case: Case) -> list[Finding]:
    """Return the outcome first, then its attempts and the tasks that depend on it."""
    return [_outcome(case), *_attempts(case), *_awaited(case)]


def _outcome(case: Case) -> Finding:
    task, end = case.task, _end_of(case)
    if task.status == TaskStatus.CANCELLED:
        return _cancelled(case, end)
    if task.status == TaskStatus.COMPLETED:
        return _completed(case)
    if task.unrunnable_because is not None:
        return _unrunnable(case)
    if task.quarantined_at is not None:
        return _quarantined(case)
    return _expired(case) if end.event_type == "expired" else _failed(case)


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


def _when(case: Case) -> str:
    return case.since(case.task.completed_at)


def _facts(case: Case) -> dict[str, object]:
    task = case.task
    return {
        "at": stamp(task.completed_at),
        "failure_class": task.failure_class,
        "error": formats.first_line(task.error, ERROR_CHARS),
    }


def _completed(case: Case) -> Finding:
    if case.task.failure_class == FailureClass.NO_WORK:
        text = f"It found nothing to do and completed at {_when(case)}: {case.error(ERROR_CHARS)}."
        return Finding(code=Code.NO_WORK, text=text, detail=_facts(case))
    took_sec = case.task.duration_sec
    took = "" if took_sec is None else f", {formats.duration(took_sec)} after its claim"
    text = f"It completed at {_when(case)}{took}."
    return Finding(code=Code.COMPLETED, text=text, detail={"at": stamp(case.task.completed_at), "took_sec": took_sec})


def _cancelled(case: Case, end: End) -> Finding:
    actor = end.requested_by or end.actor or "an unknown actor (its events are gone)"
    reason = f": {end.reason}" if end.reason else ""
    stopped = f" It was running; {end.actor} stopped it." if end.requested_by and end.actor != end.requested_by else ""
    return Finding(
        code=Code.CANCELLED,
        text=f"It was cancelled by {actor} at {_when(case)}{reason}.{stopped}",
        remedy="Retry it if it is needed after all.",
        detail={"by": actor, "reason": end.reason, "at": stamp(case.task.completed_at)},
    )


def _unrunnable(case: Case) -> Finding:
    because = case.task.unrunnable_because
    root = Task.objects.filter(task_id=str(because)).first() or archive.find_task(UUID(str(because)))
    name, why = f"the task {because}", ""
    remedy = "That task cannot be retried any more: respawn it, then this task with the new one as dependency."
    if root is not None:
        name = f"{root.task_name} {because}"
        error = formats.first_line(root.error, ERROR_CHARS).rstrip(".")
        why = f", {root.status} as {root.failure_class}: {error}" if root.failure_class else f", now {root.status}"
        if not archive.is_archived(root):
            remedy = f"Repair the cause and retry {name}: this task then waits for it again."
    return Finding(
        code=Code.UNRUNNABLE,
        text=f"It failed at {_when(case)} without an attempt, because it depends on {name}{why}.",
        remedy=remedy,
        detail={**_facts(case), "because": str(because)},
    )


def _quarantined(case: Case) -> Finding:
    task = case.task
    return Finding(
        code=Code.QUARANTINED,
        text=f"It is quarantined since {case.since(task.quarantined_at)}: {task.crash_count} attempts crashed, ran out "
        f"of memory or were lost, the last as {task.failure_class}: {case.error(ERROR_CHARS)}.",
        remedy="Find the cause in the logs of its attempts. Only a retry by an operator lifts the quarantine.",
        detail={**_facts(case), "since": stamp(task.quarantined_at), "crash_count": task.crash_count},
    )


def _expired(case: Case) -> Finding:
    text = f"It expired at {_when(case)}: {case.error(ERROR_CHARS)}."
    remedy = "Retry it if it is still needed; a retry has no queue timeout. Find out why the queue was slow."
    return Finding(code=Code.EXPIRED, text=text, remedy=remedy, detail=_facts(case))


def _failed(case: Case) -> Finding:
    task = case.task
    if task.failure_class == FailureClass.INVALID:
        remedy = "It is never retried automatically. Correct the input and retry it, or spawn it with other params."
    else:
        remedy = "Read the log of its last attempt, repair the cause, then retry it."
    used = ""
    if task.max_retries and task.retry_count >= task.max_retries:
        used = f" Retries used: {task.retry_count} of {task.max_retries}."
    return Finding(
        code=Code.FAILED,
        text=f"It failed at {_when(case)} as {task.failure_class}: {case.error(ERROR_CHARS)}.{used}",
        remedy=remedy,
        detail={**_facts(case), "retries_used": task.retry_count, "max_retries": task.max_retries},
    )


def _attempts(case: Case) -> list[Finding]:
    task = case.task
    if task.claim_epoch == 0:
        return [
            Finding(code=Code.ATTEMPTS, text="No attempt was ever started.", detail={"attempts": 0, "outcomes": {}})
        ]
    rows = (
        Attempt.objects.filter(task_id=task.task_id).order_by("-number").values_list("outcome", flat=True)[:READ_MOST]
    )
    outcomes = Counter(outcome or "unfinished" for outcome in rows)
    listed = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    text = f"It had {formats.count(task.claim_epoch, 'attempt')} ({listed}) and used {task.retry_count} of "
    text += f"{task.max_retries} retries."
    detail = {"attempts": task.claim_epoch, "outcomes": dict(outcomes), "retries_used": task.retry_count}
    return [Finding(code=Code.ATTEMPTS, text=text, detail=detail)]


def _awaited(case: Case) -> list[Finding]:
    if case.task.status == TaskStatus.COMPLETED:
        return []
    n = select(_AWAITED, {"task_id": case.task.task_id})[0]["n"]
    if not n:
        return []
    many = f"more than {COUNTED_MOST:,} tasks" if n > COUNTED_MOST else formats.count(n, "task")
    text = f"Tasks that depend on it directly and are blocked by it: {many}."
    return [
        Finding(
            code=Code.AWAITED, text=text, remedy="They become claimable when it has completed.", detail={"tasks": n}
        )
    ]


def archived(found: ArchivedTask) -> Finding:
    """Return the finding for a task in the archive."""
    error = formats.first_line(str(found.task.get("error") or ""), ERROR_CHARS)
    text = f"It {'was ' if found.status == TaskStatus.CANCELLED else ''}{found.status} at "
    text += f"{formats.moment(found.completed_at)} and was archived at {formats.moment(found.archived_at)}"
    return Finding(
        code=Code.ARCHIVED,
        text=f"{text}{f': {error}' if error else ''}.",
        remedy="Respawn it if it is needed again; an archived task cannot be retried.",
        detail={"status": found.status, "at": stamp(found.completed_at), "archived_at": stamp(found.archived_at)},
    )
