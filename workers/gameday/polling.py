"""Look at tasks, attempts and processes until something is so."""

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
LOOK_EVERY_SEC = 0.02
PATIENCE_SEC = 60.0


class NothingCame(Exception):
    """Something that had to happen did not, within the patience there was."""


def wait_for(what: str, look: Callable[[], T | None], timeout_sec: float = PATIENCE_SEC) -> T:
    """Return what `look` finds as soon as it finds something; an outage of the database is only a reason to look again.

    Raises NothingCame.
    """
    deadline = time.monotonic() + timeout_sec
    while True:
        try:
            found = look()
        except Error as error:
            if not outages.is_outage(error):
                raise
            connection.close()
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise NothingCame(f"{what}: not within {timeout_sec:g} s")
        time.sleep(LOOK_EVERY_SEC)


def fresh(task: Task) -> Task:
    """Return the task as it stands now."""
    return Task.objects.get(pk=task.pk)


def finished(task: Task, timeout_sec: float = PATIENCE_SEC) -> Task:
    """Return the task as soon as it has reached a terminal status."""

    def look() -> Task | None:
        found = fresh(task)
        return found if found.is_finished else None

    return wait_for(f"the end of {task}", look, timeout_sec)


def all_finished(task_ids: Collection[UUID], timeout_sec: float = PATIENCE_SEC) -> None:
    """Wait until every one of the tasks has ended."""

    def look() -> bool:
        return not Task.objects.filter(task_id__in=task_ids).exclude(status__in=FINISHED).exists()

    wait_for(f"the end of {len(task_ids)} tasks", look, timeout_sec)


def with_progress(task: Task, message: str = "") -> Task:
    """Return the task as soon as its attempt has reported progress, with the given text in the message."""

    def look() -> Task | None:
        found = fresh(task)
        if found.is_finished:
            raise NothingCame(f"progress {message!r} of {task}: it is {found.status} already")
        return found if found.progress_message and message in found.progress_message else None

    return wait_for(f"progress {message!r} of {task}", look)


def event(task: Task, event_type: str, *, nth: int = 1, timeout_sec: float = PATIENCE_SEC) -> TaskEvent:
    """Return the task's n-th event of that event_type as soon as there is one."""

    def look() -> TaskEvent | None:
        return (
            TaskEvent.objects.filter(task_id=task.task_id, event_type=event_type).order_by("id")[nth - 1 : nth].first()
        )

    try:
        return wait_for(f"event {event_type} of {task}", look, timeout_sec)
    except NothingCame as error:
        raise NothingCame(f"{error}; its events are {', '.join(event_types(task))}") from None


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
    """Return the latest attempt as soon as it knows its directory, which is when its process is about to start."""

    def look() -> Attempt | None:
        return Attempt.objects.filter(task_id=task.task_id).exclude(directory="").order_by("number").last()

    return wait_for(f"an attempt of {task}", look)


def processes_of(attempt: Attempt) -> list[psutil.Process]:
    """Return every living process that works in the attempt's directory: the guardian, the child, all they started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd().startswith(f"{attempt.directory}/") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def child_of(task: Task) -> psutil.Process:
    """Return the process in which the task's present attempt runs."""
    attempt = last_attempt(task)

    def look() -> psutil.Process | None:
        for process in processes_of(attempt):
            with contextlib.suppress(psutil.Error):
                if "workers.process.child" in process.cmdline():
                    return process
        return None

    return wait_for(f"the child of {task}", look)


def seconds_until_gone(attempt_list: Collection[Attempt], timeout_sec: float = 30.0) -> float:
    """Wait until no process of the attempts lives any more; return how long it took."""
    began = time.monotonic()
    wait_for("the end of all processes", lambda: not any(map(processes_of, attempt_list)), timeout_sec)
    return time.monotonic() - began


def last_renewal(task: Task) -> datetime:
    """Return when the lease of a claimed task was last renewed, by the database's clock."""
    found = fresh(task)
    if found.lease_until is None:
        raise NothingCame(f"{task} is {found.status}, it has no lease")
    return found.lease_until - timedelta(seconds=found.lease_sec)


def since(moment: datetime) -> float:
    """Return how many seconds ago a moment of the database's clock was."""
    return (clock.now() - moment).total_seconds()


def leftovers_below(directory: Path, token: UUID) -> list[Path]:
    """Return what an attempt has published below a data root."""
    return list(directory.glob(f"*/*.{str(token)[:8]}"))
