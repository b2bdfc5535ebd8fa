"""A task as Django sees it: made from its row and its attempts, or from the archive's copy of them.

The queue keeps of an exception its text and its traceback. The path of its class, which Django wants, goes with them as
a note in its own line.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from tasks_app import cleaning, models
from tasks_app.django_tasks_backend import registered
from tasks_app.django_tasks_backend.call import NAME, Call
from tasks_app.django_tasks_backend.interface import Task, TaskError, TaskResult, TaskResultStatus
from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import AttemptFailed, TaskCancelled
from tasks_app.models import TaskStatus

NOTE = "exception class: "
_MARK = re.compile(rf"^[ |]*{NOTE}(?P<path>\S+)(?:\n|\Z)", re.MULTILINE)
NONE = frozenset({"", "completed", "no_work", "drained", "unavailable"})
"""Outcomes of attempts that are no failures of the task."""

_CLASSES: dict[str, type[BaseException]] = {
    "invalid": InvalidInput,
    "timeout": TimeoutError,
    "memory": MemoryError,
    "cancelled": TaskCancelled,
}
"""For what ended without an exception of the function's own."""


def path_of(exception: type[BaseException]) -> str:
    """Return the path by which the class can be imported."""
    return f"{exception.__module__}.{exception.__qualname__}"


def mark(error: BaseException) -> None:
    """Note the path of the exception's class, so that it comes to stand in the traceback."""
    error.add_note(NOTE + path_of(type(error)))


def of(outcome: str, message: str, traceback: str = "") -> TaskError:
    """Return the error of an attempt, or of a task that ended without one."""
    marks = list(_MARK.finditer(traceback))
    if marks and _is_loaded(marks[-1]["path"]):
        text = traceback[: marks[-1].start()] + traceback[marks[-1].end() :]
        return TaskError(exception_class_path=marks[-1]["path"], traceback=text)
    exception = _CLASSES.get(outcome, AttemptFailed)
    return TaskError(exception_class_path=path_of(exception), traceback=traceback or message or outcome)


def _is_loaded(path: str) -> bool:
    """Return whether the path leads to an exception in a module that is imported already.

    Django imports what stands here, and the text of a traceback may contain what the caller chose as arguments.
    """
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:end]))
        if module is not None:
            found = functools.reduce(lambda owner, name: getattr(owner, name, None), parts[end:], cast(Any, module))
            return isinstance(found, type) and issubclass(found, BaseException)
    return False


def seen(error: BaseException) -> TaskError:
    """Return the error for an exception that is at hand."""
    return TaskError(exception_class_path=path_of(type(error)), traceback=cleaning.traceback_of(error))


STATUSES = {
    TaskStatus.PENDING: TaskResultStatus.READY,
    TaskStatus.CLAIMED: TaskResultStatus.RUNNING,
    TaskStatus.COMPLETED: TaskResultStatus.SUCCESSFUL,
    TaskStatus.FAILED: TaskResultStatus.FAILED,
    TaskStatus.CANCELLED: TaskResultStatus.FAILED,
}


class TaskRow(BaseModel):
    """The columns of a task that matter here, from the row or from the archive's document."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
    task_id: UUID
    params: Call
    status: TaskStatus
    result: Any
    error: str | None
    failure_class: str
    created_at: datetime
    completed_at: datetime | None


class AttemptRow(BaseModel):
    """The columns of an attempt that matter here."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
    number: int
    worker_id: UUID | None
    started_at: datetime
    outcome: str
    error: str
    traceback: str


def task_of(call: Call) -> Task[Any, Any]:
    """Return Django's Task as it was enqueued. Raises InvalidInput when it is not registered in this process."""
    found = registered.find(call.function)
    if found is None:
        raise InvalidInput(registered.unknown(call.function))
    run_after = datetime.fromisoformat(call.run_after) if call.run_after else None
    return found.using(priority=call.priority, queue_name=call.queue_name, run_after=run_after, backend=call.backend)


def fresh(task: Task[Any, Any], row: models.Task, call: Call) -> TaskResult[Any]:
    """Return the result of a task that has just been enqueued."""
    return _result(task, call, id=str(row.task_id), status=TaskResultStatus.READY, enqueued_at=row.created_at)


def find(result_id: str) -> TaskResult[Any] | None:
    """Return what is known of a task, also after it has been archived; None when there is no Django task of that id."""
    try:
        task_id = UUID(str(result_id))
    except ValueError:
        return None
    row = models.Task.objects.filter(task_id=task_id, task_name=NAME).first()
    if row is not None:
        made = models.Attempt.objects.filter(task_id=task_id).order_by("number")
        return _known(TaskRow.model_validate(row), [AttemptRow.model_validate(attempt) for attempt in made])
    kept = models.ArchivedTask.objects.filter(task_id=task_id, task_name=NAME).first()
    if kept is None:
        return None
    attempts = [AttemptRow.model_validate(attempt) for attempt in kept.attempts]
    return _known(TaskRow.model_validate(kept.task), sorted(attempts, key=lambda attempt: attempt.number))


def _known(row: TaskRow, attempts: Sequence[AttemptRow]) -> TaskResult[Any]:
    workers = models.Worker.objects.filter(pk__in={attempt.worker_id for attempt in attempts})
    labels: dict[UUID | None, str] = dict(workers.values_list("pk", "label"))
    result = _result(
        task_of(row.params),
        row.params,
        id=str(row.task_id),
        status=STATUSES[row.status],
        enqueued_at=row.created_at,
        started_at=attempts[0].started_at if attempts else None,
        last_attempted_at=attempts[-1].started_at if attempts else None,
        finished_at=row.completed_at,
        errors=_errors_of(row, attempts),
        worker_ids=[labels.get(attempt.worker_id, str(attempt.worker_id)) for attempt in attempts],
    )
    if row.status == TaskStatus.COMPLETED:
        set_on(result, _return_value=(row.result or {}).get("return_value"))
    return result


def _errors_of(row: TaskRow, attempts: Sequence[AttemptRow]) -> list[TaskError]:
    """Return one error for each attempt that failed, and one for an end that no attempt has brought about."""
    failed = [attempt for attempt in attempts if attempt.outcome not in NONE]
    found = [of(attempt.outcome, attempt.error, attempt.traceback) for attempt in failed]
    last = failed[-1] if failed else None
    if row.status == TaskStatus.CANCELLED and (last is None or last.outcome != "cancelled"):
        found.append(of("cancelled", row.error or "cancelled before it ran"))
    elif row.status == TaskStatus.FAILED and (last is None or last.error != row.error):
        found.append(of(row.failure_class, row.error or ""))
    return found


def _result(task: Task[Any, Any], call: Call, **known: Any) -> TaskResult[Any]:
    unknown: dict[str, Any] = {"started_at": None, "last_attempted_at": None, "finished_at": None}
    unknown |= {"errors": [], "worker_ids": []}
    return TaskResult(task=task, args=call.args, kwargs=call.kwargs, backend=call.backend, **{**unknown, **known})


def set_on(result: TaskResult[Any], **values: Any) -> None:
    """Change a result, which is frozen for those who get it."""
    for name, value in values.items():
        object.__setattr__(result, name, value)
