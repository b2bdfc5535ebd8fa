"""Run a failed or cancelled task again, with the same params."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from tasks_app import clock, dependencies, policies
from tasks_app.actions.lookup import locked
from tasks_app.errors import InvalidTransition
from tasks_app.models import Hold, Task, TaskStatus
from tasks_app.transitions import Act, move


@transaction.atomic
def retry(task_id: UUID, *, actor: str, reason: str = "") -> Task:
    """Return a finished task to the queue with a fresh set of retries; its quarantine, if any, is lifted.

    Raises TaskNotFound, or InvalidTransition when the task has not failed or been cancelled.
    """
    task = locked(task_id)
    if task.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
        hint = "wait until its worker has stopped it" if task.cancel_requested_at else ""
        raise InvalidTransition(task.task_id, task.status, "retry", hint)
    moment = clock.now()
    move(
        task,
        TaskStatus.PENDING,
        Act(verb="retried", actor=actor, reason=reason),
        hold=0 if task.joined_at or dependencies.satisfied([task]) else Hold.DEPENDENCY,
        runnable_at=moment,
        rank=policies.rank(task.priority, moment),
        retry_count=0,
        crash_count=0,
        quarantined_at=None,
        expires_at=None,
        deadline_at=None,
        result=None,
        error=None,
        failure_class="",
        unrunnable_because=None,
    )
    return task
