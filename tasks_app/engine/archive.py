"""Reading the archive: finished tasks that have left the hot tables, found under the ids they always had.

What comes back are unsaved instances of the usual models, so that its callers need not know where a task was kept.
A column that the documents do not have yet takes its default, one that the model no longer has is left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import models
from django.db.models.expressions import RawSQL

from tasks_app.models import ArchivedTask, Attempt, Run, Task, TaskEvent, TaskStatus, Worker

M = TypeVar("M", bound=models.Model)

HELD_BY = "worker"
"""The key beside the columns under which a document names the worker, whose row may go before the archive does."""


def find_task(task_id: UUID) -> Task | None:
    """Return the archived task as an unsaved instance with the attribute `archived`, or None."""
    row = ArchivedTask.objects.defer("attempts", "events").filter(task_id=task_id).first()
    return None if row is None else rebuild(row)


def rebuild(row: ArchivedTask) -> Task:
    """Return the task of an archived row, with its run and worker."""
    task = _instance(Task, row.task)
    task.worker = _worker(row.task)
    task.run = None
    if row.run_id is not None:
        task.run = Run.objects.filter(run_id=row.run_id).first() or Run(pk=row.task["run_id"], run_id=row.run_id)
    task.archived = True  # type: ignore[attr-defined]
    return task


def light(rows: models.QuerySet[ArchivedTask]) -> models.QuerySet[ArchivedTask]:
    """Have the rows come without what is large: attempts, events, and the task's result, error and bindings."""
    return rows.defer("task", "attempts", "events").annotate(
        document=RawSQL("task - ARRAY['result', 'error', 'bindings']", []),
        error_head=RawSQL("left(task->>'error', 300)", []),
    )


def rebuild_light(rows: Sequence[ArchivedTask]) -> list[Task]:
    """Return the tasks of such rows, with their runs and workers."""
    runs = {run.run_id: run for run in Run.objects.filter(run_id__in={row.run_id for row in rows if row.run_id})}
    tasks = []
    for row in rows:
        document = json.loads(row.document) if isinstance(row.document, str) else row.document  # type: ignore[attr-defined]
        task = _instance(Task, document)
        task.worker = _worker(document)
        task.run = None
        if row.run_id is not None:
            task.run = runs.get(row.run_id) or Run(pk=document["run_id"], run_id=row.run_id)
        task.archived, task.error_head = True, row.error_head  # type: ignore[attr-defined]
        tasks.append(task)
    return tasks


def is_archived(task: Task) -> bool:
    """Whether the task came from the archive."""
    return bool(getattr(task, "archived", False))


def events_of(task_id: UUID) -> list[TaskEvent]:
    """Return the events of an archived task, oldest first."""
    return [_instance(TaskEvent, each) for each in _documents(task_id, "events")]


def attempts_of(task_id: UUID) -> list[Attempt]:
    """Return the attempts of an archived task, first to last, with their workers."""
    found = []
    for document in _documents(task_id, "attempts"):
        attempt = _instance(Attempt, document)
        attempt.worker = _worker(document)
        found.append(attempt)
    return found


def statuses_of(task_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the status of those of the tasks that are archived."""
    return dict(ArchivedTask.objects.filter(task_id__in=task_ids).values_list("task_id", "status"))


def tasks_of_runs(run_ids: Collection[UUID]) -> list[UUID]:
    """Return the archived tasks of these runs, the earliest first."""
    return list(ArchivedTask.objects.filter(run_id__in=run_ids).order_by("id").values_list("task_id", flat=True))


def first_lost(task_ids: Any) -> Task | None:
    """Return the earliest of the tasks that is archived without having completed: it never will."""
    lost = ArchivedTask.objects.filter(task_id__in=task_ids).exclude(status=TaskStatus.COMPLETED)
    row = lost.defer("attempts", "events").order_by("completed_at", "id").first()
    return None if row is None else rebuild(row)


def results_of(task_ids: Iterable[Any]) -> dict[str, Any]:
    """Return the results of those of the tasks that are archived and completed, by task id as text."""
    done = ArchivedTask.objects.filter(task_id__in=list(task_ids), status=TaskStatus.COMPLETED)
    return {str(task_id): result for task_id, result in done.values_list("task_id", "task__result")}


def _documents(task_id: UUID, column: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] | None = (
        ArchivedTask.objects.filter(task_id=task_id).values_list(column, flat=True).first()
    )
    return found or []


def _instance(model: type[M], document: Mapping[str, Any]) -> M:
    """Make an unsaved instance of the row that was kept as a JSON document by column name."""
    fields: Any = model._meta.concrete_fields
    values = {
        field.attname: _read(field, document[field.column]) if field.column in document else _default(field)
        for field in fields
    }
    return model(**values)


def _read(field: Any, value: Any) -> Any:
    if value is None or isinstance(field, models.JSONField):
        return value
    read = field.target_field.to_python(value) if isinstance(field, models.ForeignKey) else field.to_python(value)
    return read.astimezone(UTC) if isinstance(read, datetime) else read


def _default(field: Any) -> Any:
    """Return what a row has in a column that was added after it was archived."""
    if field.has_db_default() and not field.has_default():
        return getattr(field._db_default_expression, "value", None)
    return field.get_default()


def _worker(document: Mapping[str, Any]) -> Worker | None:
    known = document.get(HELD_BY)
    return None if known is None else Worker(pk=UUID(document["worker_id"]), **known)
