"""Find the task that somebody means, and lock it where it can still change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from django.db.models.expressions import RawSQL

from tasks_app.engine import archive
from tasks_app.errors import InvalidTransition, TaskArchived, TaskNotFound
from tasks_app.models import ArchivedTask, Task

Refusals = Mapping[UUID, InvalidTransition]
"""Tasks to which something could not be done, each with why."""
VERSION = RawSQL('"tasks_app_task".xmin::text || "tasks_app_task".ctid::text', [])
"""Every update of a row makes a new version of it, by another transaction or at another place."""


def find(task_id: UUID) -> Task:
    """Return the task with the names of worker and run and its row's version, also archived. Raises TaskNotFound."""
    # In this order, because tasks go to the archive and never come back.
    rows = Task.objects.with_names().annotate(version=VERSION)
    try:
        live: Task = rows.get(task_id=task_id)
    except Task.DoesNotExist:
        archived = archive.find_task(task_id)
        if archived is None:
            raise TaskNotFound(task_id) from None
        return archived
    return live


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


def locked_now(task_ids: Collection[UUID]) -> dict[UUID, Task]:
    """Return those of the tasks that nobody else holds, locked in the order of their rows, by task id."""
    rows = Task.objects.filter(task_id__in=task_ids).select_related("run", "worker").order_by("id")
    free = rows.select_for_update(of=("self",), skip_locked=True).defer("params", "bindings", "result")
    return {task.task_id: task for task in free}


def do_to_one(task_id: UUID, act: Callable[[Sequence[Task]], Refusals]) -> Task:
    """Do to one task, locked, what is done to many. Raises TaskNotFound, TaskArchived, or why it refuses."""
    task = locked(task_id)
    refusal = act([task]).get(task_id)
    if refusal is not None:
        raise refusal
    return task
