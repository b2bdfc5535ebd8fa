"""Find the task that somebody means, and lock it where it can still change."""

from __future__ import annotations

from uuid import UUID

from tasks_app import archive
from tasks_app.errors import TaskArchived, TaskNotFound
from tasks_app.models import ArchivedTask, Task


def find(task_id: UUID) -> Task:
    """Return the task with its worker and run, also from the archive. Raises TaskNotFound."""
    # In this order, because tasks go to the archive and never come back.
    live: Task | None = Task.objects.select_related("worker", "run").filter(task_id=task_id).first()
    task = live or archive.find_task(task_id)
    if task is None:
        raise TaskNotFound(task_id)
    return task


def locked(task_id: UUID) -> Task:
    """Return the task locked for the current transaction. Raises TaskNotFound, or TaskArchived when it is too late."""
    task: Task | None = (
        Task.objects.select_for_update(of=("self",)).select_related("run").filter(task_id=task_id).first()
    )
    if task is None and ArchivedTask.objects.filter(task_id=task_id).exists():
        raise TaskArchived(task_id)
    if task is None:
        raise TaskNotFound(task_id)
    return task
