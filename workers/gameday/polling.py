"""Wait for tasks, attempts and processes of a drill until a condition holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psutil
from django.db import Error, connection

from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.models.task import FINISHED
from tasks_app.postgresql import clock, outages

T = TypeVar("T")
POLL_SEC = 0.02
TIMEOUT_SEC = 60.0


class TimedOut(Exception):
    """Something that had to happen did not happen in time."""


def wait_for(what: str, find: Callable[[], T | None], limit_sec: float = TIMEOUT_SEC) -> T:
    """Return what `find` returns as soon as that is something; an outage of the database is a reason to ask again.

    Raises TimedOut.
    """
    deadline = time.monotonic() + limit_sec
    while True:
        try:
            found = find()
        except Error as error:
            if not outages.is_outage(error):
                raise
            connection.close()
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {limit_sec:g} s")
        time.sleep(POLL_SEC)


def fresh(task: Task) -> Task:
    """Return the task as it is stored now."""
    return Task.objects.get(pk=task.pk)


def finished(task: Task, limit_sec: float = TIMEOUT_SEC) -> Task:
    """Return the task as soon as it has reached a terminal status."""
    stored = Task.objects.filter(pk=task.pk, status__in=FINISHED)
    found: Task = wait_for(f"the end of {task}", stored.first, limit_sec)
    return found


def all_finished(task_ids: Collection[UUID], limit_sec: float = TIMEOUT_SEC) -> None:
    """Wait until every one of the tasks has ended."""
    unfinished = Task.objects.filter(task_id__in=task_ids).exclude(status__in=FINISHED)
    wait_for(f"the end of {len(task_ids)} tasks", lambda: not unfinished.exists(), limit_sec)


def with_progress(task: Task, message: str = "") -> Task:
    """Return the task as soon as its attempt has reported progress, with the given text in the message."""

    def find() -> Task | None:
        stored = fresh(task)
        if stored.is_finished:
            raise TimedOut(f"progress {message!r} of {task}: it is {stored.status} already")
        return stored if stored.progress_message and message in stored.progress_message else None

    return wait_for(f"progress {message!r} of {task}", find)


def event(task: Task, event_type: str, *, nth: int = 1, limit_sec: float = TIMEOUT_SEC) -> TaskEvent:
    """Return the task's n-th event of that event_type as soon as there is one."""
    events = TaskEvent.objects.filter(task_id=task.task_id, event_type=event_type).order_by("id")
    try:
        return wait_for(f"event {event_type} of {task}", lambda: events[nth - 1 : nth].first(), limit_sec)
    except TimedOut as error:
        raise TimedOut(f"{error}; its events are {', '.join(event_types(task))}") from None


def event_types(task: Task) -> list[str]:
    """Return what happened to the task, in order; progress is left out because its number depends on the time."""
    events = TaskEvent.objects.filter(task_id=task.task_id).exclude(event_type="progress").order_by("id")
    return list(events.values_list("event_type", flat=True))


def attempts(task: Task) -> list[Attempt]:
    """Return the task's attempts in order."""
    return list(Attempt.objects.filter(task_id=task.task_id).order_by("number"))


def outcomes(task: Task) -> list[str]:
    """Return how the task's attempts ended, in order."""
    return [attempt.outcome for attempt in attempts(task)]


def last_attempt(task: Task) -> Attempt:
    """Return the latest attempt as soon as it has its directory, which is when its process is about to start."""
    with_directory = Attempt.objects.filter(task_id=task.task_id).exclude(directory="").order_by("number")
    return wait_for(f"an attempt of {task}", with_directory.last)


def processes_of(attempt: Attempt) -> list[psutil.Process]:
    """Return every living process that works in the attempt's directory: the guardian, the child, all they started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd().startswith(f"{attempt.directory}/") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def is_child(process: psutil.Process) -> bool:
    """Whether this is the process in which an attempt runs."""
    with contextlib.suppress(psutil.Error):
        return "workers.process.child" in process.cmdline()
    return False


def child_of(task: Task) -> psutil.Process:
    """Return the process in which the task's present attempt runs."""
    attempt = last_attempt(task)
    return wait_for(f"the child of {task}", lambda: next(filter(is_child, processes_of(attempt)), None))


def seconds_until_gone(attempt_list: Collection[Attempt], limit_sec: float = 30.0) -> float:
    """Wait until no process of the attempts lives any more; return how long it took."""
    start = time.monotonic()
    wait_for("the end of all processes", lambda: not any(map(processes_of, attempt_list)), limit_sec)
    return time.monotonic() - start


def last_renewal(task: Task) -> datetime:
    """Return when the lease of a claimed task was last renewed, by the database's clock. Raises TimedOut."""
    stored = fresh(task)
    if stored.lease_until is None:
        raise TimedOut(f"{task} is {stored.status}, it has no lease")
    return stored.lease_until - timedelta(seconds=stored.lease_sec)


def since(moment: datetime) -> float:
    """Return how many seconds ago a moment of the database's clock was."""
    return (clock.now() - moment).total_seconds()


def published_by(directory: Path, token: UUID) -> list[Path]:
    """Return what an attempt has published below a data root."""
    return list(directory.glob(f"*/*.{str(token)[:8]}"))
