"""The backend that puts Django's tasks into the queue and reads their results from it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core import checks
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks_app import cleaning
from tasks_app.django_tasks_backend import call
from tasks_app.django_tasks_backend.call import Call, priority_of
from tasks_app.django_tasks_backend.interface import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)
from tasks_app.validation import message_of


class Options(BaseModel):
    """What OPTIONS may say."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    QUEUE_NAMES: dict[str, str] = Field(default_factory=dict)
    """The queue for each of Django's queue names; one that is not listed is the queue of the same name."""
    MAX_RETRIES: int = Field(default=0, ge=0, le=100)
    TIMEOUT_SEC: int | None = Field(default=None, ge=1)


class AbsurdBackend(BaseTaskBackend):
    """Enqueues in the caller's transaction and finds results from every process."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        try:
            self._chosen = Options.model_validate(self.options)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, f['loc']))}: {message_of(f)}" for f in error.errors(include_url=False)
            )
            raise InvalidTaskBackend(f"OPTIONS of the Tasks backend {alias!r}: {faults}") from None
        call.register()

    def enqueue(self, task: Task[Any, Any], args: Any, kwargs: Any) -> TaskResult[Any]:
        """Spawn a task in the caller's transaction.

        Raises InvalidTask, TypeError or ValueError for arguments that JSON cannot hold, and Disabled.
        """
        # A backend is made when a module decorates its first function, perhaps before the models can be imported.
        from tasks_app.django_tasks_backend import results
        from tasks_app.engine.options import TaskOptions
        from tasks_app.engine.spawn import spawn

        self.validate_task(task)
        _check_path(task)
        wanted = self._call_of(task, args, kwargs)
        row = spawn(
            TaskOptions(
                task_name=call.NAME,
                params=wanted.stored(),
                queue_name=self._chosen.QUEUE_NAMES.get(task.queue_name, task.queue_name),
                priority=priority_of(task.priority),
                scheduled_at=_aware(task.run_after),
                timeout_sec=self._chosen.TIMEOUT_SEC,
                max_retries=self._chosen.MAX_RETRIES,
            ),
            actor=f"django-tasks:{self.alias}",
        )
        result = results.fresh(task, row, wanted)
        task_enqueued.send(type(self), task_result=result)
        return result

    def _call_of(self, task: Task[Any, Any], args: Any, kwargs: Any) -> Call:
        return Call(
            function=task.module_path,
            args=_storable(list(args), "args"),
            kwargs=_storable(dict(kwargs), "kwargs"),
            priority=task.priority,
            queue_name=task.queue_name,
            run_after=task.run_after.isoformat() if task.run_after else None,
            backend=self.alias,
        )

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Return what is known of a task. Raises TaskResultDoesNotExist."""
        from tasks_app.django_tasks_backend import results

        found = results.find(result_id)
        if found is None:
            raise TaskResultDoesNotExist(result_id)
        return found

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        """Say what is missing for the queue to be used."""
        if not apps.is_installed("tasks_app"):
            hint = "Insert 'tasks_app' in INSTALLED_APPS"
            yield checks.Error("AbsurdBackend needs the queue's tables", hint, id="tasks_app.E001")


def _check_path(task: Task[Any, Any]) -> None:
    """Refuse a task that a worker would not find again. Raises InvalidTask."""
    from tasks_app.django_tasks_backend import registered

    found = registered.find(task.module_path)
    if found is None or found.func is not task.func:
        raise InvalidTask(
            f"A worker cannot find this task as {task.module_path}: decorate the function with @task "
            f"where it is defined, and {registered.HOW}."
        )


def _storable(value: Any, where: str) -> Any:
    """Return the arguments as JSON. Raises TypeError or ValueError for what JSON or the database cannot hold."""
    plain = normalize_json(value)
    try:
        cleaning.json_value(plain, where)
    except cleaning.Unstorable as error:
        raise ValueError(str(error)) from None
    if r"\u0000" in json.dumps(plain):
        raise ValueError(f"{where} hold a NUL character, which PostgreSQL cannot store")
    return plain


def _aware(moment: datetime | None) -> datetime | None:
    return timezone.make_aware(moment) if moment is not None and timezone.is_naive(moment) else moment
