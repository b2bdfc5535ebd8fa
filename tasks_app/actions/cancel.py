"""Cancel a task: a pending one at once, a claimed one as soon as its worker has stopped it."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from tasks_app import clock
from tasks_app.actions.lookup import locked
from tasks_app.errors import InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.transitions import Act, move, record


@transaction.atomic
def cancel(task_id: UUID, *, actor: str, reason: str = "") -> Task:
    """Cancel the task, or ask its worker to stop it; asking twice changes nothing.

    Raises TaskNotFound, or InvalidTransition when the task has already finished.
    """
    return cancel_locked(locked(task_id), actor=actor, reason=reason)


def cancel_locked(task: Task, *, actor: str, reason: str) -> Task:
    """Cancel a task that is locked already, or ask its worker to stop it. Raises InvalidTransition."""
    if task.status == TaskStatus.PENDING:
        move(task, TaskStatus.CANCELLED, Act(verb="cancelled", actor=actor, reason=reason), hold=0)
    elif task.status != TaskStatus.CLAIMED:
        raise InvalidTransition(task.task_id, task.status, "cancel")
    elif task.cancel_requested_at is None:
        task.cancel_requested_at = clock.now()
        task.cancel_requested_by = actor
        task.cancel_reason = reason
        task.save(update_fields=["cancel_requested_at", "cancel_requested_by", "cancel_reason"])
        record(
            task,
            Act(verb="cancel_requested", actor=actor, reason=reason),
            to_status=TaskStatus.CLAIMED,
            update={"cancel_requested_at": clock.stamp(task.cancel_requested_at)},
        )
    return task
