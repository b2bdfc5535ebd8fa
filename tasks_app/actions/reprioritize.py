"""Change a task's place in the queue."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from tasks_app import policies
from tasks_app.actions.lookup import locked
from tasks_app.errors import InvalidTransition, ParamsInvalid
from tasks_app.models import Task
from tasks_app.models.task import PRIORITY_LEAST, PRIORITY_MOST
from tasks_app.transitions import Act, record


@transaction.atomic
def reprioritize(task_id: UUID, priority: int, *, actor: str, reason: str = "") -> Task:
    """Give the task another priority; for a claimed one it counts from its next attempt.

    Raises TaskNotFound, ParamsInvalid, or InvalidTransition when the task has finished.
    """
    if not PRIORITY_LEAST <= priority <= PRIORITY_MOST:
        raise ParamsInvalid([{"path": "priority", "message": f"write {PRIORITY_LEAST} to {PRIORITY_MOST}"}])
    task = locked(task_id)
    if task.is_finished:
        raise InvalidTransition(task.task_id, task.status, "reprioritise")
    before, task.priority = task.priority, priority
    task.rank = policies.rank(priority, task.runnable_at)
    task.save(update_fields=["priority", "rank"])
    act = Act(verb="reprioritized", actor=actor, reason=reason, detail={"from": before, "to": priority})
    record(task, act, to_status=task.status, update={"priority": priority})
    return task
