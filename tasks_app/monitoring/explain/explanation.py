"""The explanation of a task: the findings for its status, and a summary in one line."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app import formats
from tasks_app.errors import TaskNotFound
from tasks_app.models import ArchivedTask, Hold, Task, TaskStatus
from tasks_app.monitoring.explain import ended, pending, running, workers
from tasks_app.monitoring.explain.dependencies import waiting
from tasks_app.monitoring.explain.findings import Case, Explanation, Finding, snapshot
from tasks_app.postgresql import clock
from tasks_app.postgresql.clock import DatabaseNow

OPENINGS = {"cancelling": "Being cancelled", "stalled": "Stalled", "claimed": "Running"}


def explain(task: Task) -> Explanation:
    """Return why the task is not running, how it is running, or how it ended. Raises TaskNotFound when it is gone."""
    return explain_id(task.task_id)


def explain_id(task_id: UUID) -> Explanation:
    """Explain the task with an id, also an archived one. Raises TaskNotFound."""
    with snapshot():
        rows = Task.objects.select_related("worker", "queue").defer("result", "params", "bindings")
        task = rows.annotate(as_of=DatabaseNow()).filter(task_id=task_id).first()
        if task is None:
            return _archived(task_id)
        case = Case(task=task, as_of=task.as_of)
        if task.status == TaskStatus.PENDING:
            found = _why_pending(case)
        elif task.status == TaskStatus.CLAIMED:
            found = list(running.findings(case))
        else:
            found = list(ended.findings(case))
    state = _state(case)
    return Explanation(
        task_id=task.task_id,
        task_name=task.task_name,
        queue_name=task.queue_id,
        status=task.status,
        state=state,
        as_of=case.as_of,
        summary=_summary(task.status, state, found),
        findings=tuple(found),
    )


def _why_pending(case: Case) -> list[Finding]:
    """Return every cause: first what operators have set, then causes in the task, then causes in the workers."""
    held = bool(case.task.hold & (Hold.FUTURE | Hold.DEPENDENCY))
    found = [*pending.frozen(case), *pending.paused(case), *waiting(case), *pending.future(case)]
    if not held:
        found += pending.limits(case)
    slots = workers.live_workers(case)
    found += workers.lasting(case, slots)
    if not held:
        # Causes that end with some attempt only matter where no other cause blocks the task.
        if not _blocked(found):
            found += workers.passing(case, slots)
        found += pending.position(case, slots, blocked=_blocked(found))
    return [*found, *pending.last_attempt(case), *pending.ends(case)]


def _blocked(found: Sequence[Finding]) -> bool:
    return any(finding.severity == "blocking" for finding in found)


def _state(case: Case) -> str:
    """Return the display status, with the lease judged by the database's clock."""
    task = case.task
    if task.status != TaskStatus.CLAIMED or task.cancel_requested_at is not None:
        return task.display_status
    return "stalled" if task.lease_until is not None and task.lease_until < case.as_of else task.status


def _summary(status: str, state: str, found: Sequence[Finding]) -> str:
    first = found[0].text
    if status == TaskStatus.CLAIMED:
        return f"{OPENINGS[state]}: {_inside(first)}"
    if status != TaskStatus.PENDING:
        return first
    causes = [finding for finding in found if finding.severity == "blocking"]
    if not causes:
        delays = [finding for finding in found if finding.severity == "delaying"]
        return f"Waiting for its turn: {_inside(delays[-1].text)}" if delays else f"Ready to run: {_inside(first)}"
    more = len(causes) - 1
    others = f" {formats.count(more, 'more cause')} below." if more else ""
    return f"Not running: {_inside(causes[0].text)}{others}"


def _inside(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _archived(task_id: UUID) -> Explanation:
    found = ArchivedTask.objects.filter(task_id=task_id).first()
    if found is None:
        raise TaskNotFound(task_id)
    finding = ended.archived(found)
    return Explanation(
        task_id=found.task_id,
        task_name=found.task_name,
        queue_name=found.queue_name,
        status=found.status,
        state="archived",
        as_of=clock.now(),
        summary=finding.text,
        findings=(finding,),
    )
