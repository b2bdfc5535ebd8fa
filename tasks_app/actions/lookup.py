"""Find and lock the task that an operator means."""

from __future__ import annotations

from uuid import UUID

from tasks_app.errors import TaskNotFound
from tasks_app.models import Task


def locked(task_id: UUID) -> Task:
    """Return the task locked for the current transaction. Raises TaskNotFound."""
    task: Task | None = (
        Task.objects.select_for_update(of=("self",)).select_related("run").filter(task_id=task_id).first()
    )
    if task is None:
        raise TaskNotFound(task_id)
    return task
