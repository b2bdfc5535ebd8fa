"""The explanation of a task: the findings for its status, and the decisive one in a line."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app.errors import TaskNotFound
from tasks_app.models import ArchivedTask, Task, TaskStatus
from tasks_app.monitoring.explain import ended, pending, running
from tasks_app.monitoring.explain.findings import Case, Explanation, Finding
from tasks_app.monitoring.explain.snapshot import snapshot
from tasks_app.postgresql import clock
from tasks_app.postgresql.clock import DatabaseNow

OPENINGS = {"cancelling": "Being cancelled", "stalled": "Stalled", "claimed": "Running"}


def explain(task: Task) -> Explanation:
    """Say why the task is not running, how it is running, or how it ended, as its rows have it now.

    Raises TaskNotFound when it is there no more.
    """
    return explain_id(task.task_id)


def explain_id(task_id: UUID) -> Explanation:
    """Explain the task of that id, also one in the archive. Raises TaskNotFound."""
    with snapshot():
        rows = Task.objects.select_related("worker", "queue").defer("result", "params", "bindings")
        task = rows.annotate(as_of=DatabaseNow()).filter(task_id=task_id).first()
        if task is None:
            return _archived(task_id)
        case = Case(task=task, as_of=task.as_of)
        if task.status == TaskStatus.PENDING:
            found = pending.findings(case)
        elif task.status == TaskStatus.CLAIMED:
            found = running.findings(case)
        else:
            found = ended.findings(case)
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


def _state(case: Case) -> str:
    """The display status, with the database's clock deciding about the lease."""
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
    causes = [finding for finding in found if finding.weight == "blocks"]
    if not causes:
        delays = [finding for finding in found if finding.weight == "delays"]
        return f"Waiting for its turn: {_inside(delays[-1].text)}" if delays else f"Ready to run: {_inside(first)}"
    more = len(causes) - 1
    others = f" {more} more {'cause' if more == 1 else 'causes'} below." if more else ""
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
