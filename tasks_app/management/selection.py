"""Tasks, runs and workers by id or its first digits, and tasks selected by conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.core.management.base import CommandParser

from tasks_app.errors import AbsurdError, ParamsInvalid, RunNotFound, TaskNotFound, WorkerNotFound
from tasks_app.management.arguments import ago, moment, whole
from tasks_app.models import Run, Task, Worker
from tasks_app.models.querysets import TaskQuerySet, id_ends_with
from tasks_app.monitoring.workers import state_of
from tasks_app.operations.runs import found_run
from tasks_app.postgresql import clock
from tasks_app.validation import PRIORITY_LEAST, PRIORITY_MOST

DIGITS_LEAST = 4
T = TypeVar("T")


def find_run(text: str) -> Run:
    """Return the run of an id or of its first digits. Raises RunNotFound, or ParamsInvalid for several runs."""
    try:
        return found_run(UUID(text))
    except ValueError:
        span = _span(text)
    return _single(list(Run.objects.filter(run_id__range=span)[:2]) if span else [], "runs", text, RunNotFound)


def find_task_id(text: str) -> UUID:
    """Return the task id of an id, which is not looked up, or of the first or last digits of an unarchived task's id.

    Raises TaskNotFound, or ParamsInvalid for several tasks.
    """
    try:
        return UUID(text)
    except ValueError:
        span = _span(text)
    if span is None:
        raise TaskNotFound(text[:100])
    begins = Task.objects.filter(task_id__range=span).values_list("task_id", flat=True)[:2]
    ends = Task.objects.filter(id_ends_with(text.lower())).values_list("task_id", flat=True)[:2]
    found: list[UUID] = list({*begins, *ends})
    return _single(found, "tasks", text, TaskNotFound)


def find_worker(text: str) -> Worker:
    """Return the worker of an id, of its first digits, or of a label that only one running worker has.

    Raises WorkerNotFound, or ParamsInvalid for several workers.
    """
    named = Worker.objects.filter(label=text)
    found: list[Worker] = list(named.filter(stopped_at=None)[:2]) or list(named.order_by("-started_at")[:1])
    if len(found) > 1:
        moment = clock.now()
        found = [worker for worker in named.filter(stopped_at=None) if state_of(worker, moment, busy=False) != "lost"]
    span = _span(text)
    if not found and span is not None:
        found = list(Worker.objects.filter(pk__range=span)[:2])
    return _single(found, "workers", text, WorkerNotFound)


def _span(text: str) -> tuple[UUID, UUID] | None:
    digits = text.lower().replace("-", "")
    if not DIGITS_LEAST <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _single(found: Sequence[T], what: str, text: str, missing: Callable[[str], AbsurdError]) -> T:
    if len(found) > 1:
        raise ParamsInvalid([{"path": "ID", "message": f"several {what} match {text}; write more digits of the id"}])
    if not found:
        raise missing(text)
    return found[0]


_RENAMED = {"queue": "queue_name", "name": "task_name", "run": "run_id", "worker": "worker_id"}
_UNCHANGED = ("status", "stage", "priority_min", "priority_max")
_MOMENTS = ("created_after", "created_before", "completed_after", "completed_before")
_PARAMETER_OF = _RENAMED | {name: name for name in (*_UNCHANGED, *_MOMENTS)}
"""The query parameter of the API for each option."""


def add_conditions(parser: CommandParser, *, status_help: str) -> None:
    """Declare the options that select tasks."""
    group = parser.add_argument_group("conditions, all of which must hold")
    add = group.add_argument
    add("--status", action="append", default=[], metavar="STATUS", help=status_help)
    add("--queue", metavar="NAME", help="tasks of this queue")
    add("--name", metavar="TASK_NAME", help="tasks of this name")
    add("--run", metavar="ID", help="tasks of this run, named by its id or first digits")
    add("--stage", metavar="STAGE", help="tasks of this stage of their run")
    add("--worker", metavar="LABEL", help="tasks last claimed by workers with this label")
    priority = whole(PRIORITY_LEAST, PRIORITY_MOST)
    add("--priority-min", type=priority, metavar="N", help="of at least this priority")
    add("--priority-max", type=priority, metavar="N", help="of at most this priority")
    for when in ("created", "completed"):
        add(f"--{when}-after", type=moment, metavar="MOMENT", help="2025-11-18T10:30:00Z, or how long ago: 2h")
        add(f"--{when}-before", type=moment, metavar="MOMENT", help="the same, exclusive")


def has_conditions(options: dict[str, Any]) -> bool:
    """Whether any condition was given."""
    return any(options[name] for name in _PARAMETER_OF)


def conditions_in(options: dict[str, Any]) -> dict[str, Any]:
    """Return the conditions by the names of the API's query. Raises RunNotFound."""
    found: dict[str, Any] = {}
    for name, parameter in _PARAMETER_OF.items():
        value = options[name]
        if name == "run" and value:
            value = str(find_run(value).run_id)
        if value:
            found[parameter] = clock.stamp(ago(value)) if isinstance(value, (datetime, timedelta)) else value
    return found


def selected(options: dict[str, Any]) -> TaskQuerySet:
    """Return the tasks that fulfil all conditions. Raises ParamsInvalid, naming each bad one, and RunNotFound."""
    from tasks_app.operations.selection import tasks_matching  # here, because it loads the library of filters

    try:
        return tasks_matching(conditions_in(options))
    except ParamsInvalid as fault:
        named = {f"filter.{parameter}": f"--{name.replace('_', '-')}" for name, parameter in _PARAMETER_OF.items()}
        raise ParamsInvalid([{**each, "path": named[each["path"]]} for each in fault.problems]) from None
