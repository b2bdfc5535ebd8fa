"""Watching one task until it has finished."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from uuid import UUID

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tasks_app.engine import lookup
from tasks_app.management.output import write_line
from tasks_app.management.printing import SafeConsole
from tasks_app.models import Task

POLL_SEC = 0.5


def follow(task_id: UUID, *, timeout_sec: float | None = None) -> Task:
    """Return the task once it has finished, or as it is when the time is up; on standard error show how it goes.

    On a terminal that is a bar, elsewhere a line for every change. Raises TaskNotFound.
    """
    if not sys.stderr.isatty():
        return _watch(task_id, timeout_sec, _Lines())
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=SafeConsole(sys.stderr), transient=True) as bar:
        shown = bar.add_task("", total=1.0)

        def show(task: Task) -> None:
            bar.update(shown, description=state_line(task), completed=task.progress or 0.0)

        return _watch(task_id, timeout_sec, show)


def state_line(task: Task) -> str:
    """Say in a line how the task stands."""
    told = task.display_status
    if task.claim_epoch:
        told += f", attempt {task.claim_epoch}"
    if task.status == "claimed" and task.progress is not None:
        told += f", {task.progress:.0%}"
    return f"{told}: {task.progress_message}" if task.status == "claimed" and task.progress_message else told


class _Lines:
    """Writes each state once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, task: Task) -> None:
        line = state_line(task)
        if line != self._last:
            self._last = line
            write_line(sys.stderr, line)


def _watch(task_id: UUID, timeout_sec: float | None, show: Callable[[Task], None]) -> Task:
    ends = None if timeout_sec is None else time.monotonic() + timeout_sec
    while True:
        task = lookup.find(task_id)
        show(task)
        if task.is_finished or (ends is not None and time.monotonic() >= ends):
            return task
        time.sleep(POLL_SEC if ends is None else max(0.0, min(POLL_SEC, ends - time.monotonic())))
