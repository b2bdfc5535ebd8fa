"""Watching a task until it has finished, and the log of an attempt while it is written."""

from __future__ import annotations

import codecs
import sys
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO
from uuid import UUID

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tasks_app.engine import lookup
from tasks_app.feed.logs import start_of_tail
from tasks_app.management.output import write_line
from tasks_app.management.printing import SafeConsole
from tasks_app.models import Attempt, Task

POLL_SEC = 0.5
CHUNK_BYTES = 65_536


def follow(task_id: UUID, *, limit_sec: float | None = None) -> Task:
    """Return the task once it has finished, or as it is after the timeout; show its progress on standard error.

    On a terminal that is a bar, elsewhere a line for every change. Raises TaskNotFound.
    """
    if not sys.stderr.isatty():
        last = ""

        def show_line(task: Task) -> None:
            nonlocal last
            line = state_line(task)
            if line != last:
                last = line
                write_line(sys.stderr, line)

        return _watch(task_id, limit_sec, show_line)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=SafeConsole(sys.stderr), transient=True) as bar:
        shown = bar.add_task("", total=1.0)

        def show(task: Task) -> None:
            bar.update(shown, description=state_line(task), completed=task.progress or 0.0)

        return _watch(task_id, limit_sec, show)


def state_line(task: Task) -> str:
    """Return the state of the task in one line."""
    line = task.display_status
    if task.claim_epoch:
        line += f", attempt {task.claim_epoch}"
    if task.status == "claimed" and task.progress is not None:
        line += f", {task.progress:.0%}"
    return f"{line}: {task.progress_message}" if task.status == "claimed" and task.progress_message else line


def _watch(task_id: UUID, limit_sec: float | None, show: Callable[[Task], None]) -> Task:
    ends = None if limit_sec is None else time.monotonic() + limit_sec
    while True:
        task = lookup.find(task_id)
        show(task)
        if task.is_finished or (ends is not None and time.monotonic() >= ends):
            return task
        time.sleep(POLL_SEC if ends is None else max(0.0, min(POLL_SEC, ends - time.monotonic())))


def text_of(log: BinaryIO, attempt: Attempt, lines: int, *, follow: bool) -> Iterator[str]:
    """Yield the last lines of a log, then if asked what is written until the attempt has ended. Raises OSError."""
    log.seek(start_of_tail(log, lines))
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        # Asked before reading, so that what is written last is read too.
        over = not follow or has_ended(attempt)
        while chunk := log.read(CHUNK_BYTES):
            yield decoder.decode(chunk)
        if over:
            return
        time.sleep(POLL_SEC)


def has_ended(attempt: Attempt) -> bool:
    """Whether the attempt is over, also when its task has gone to the archive."""
    return not Attempt.objects.filter(pk=attempt.pk, ended_at=None).exists()


def following_attempt(task: Task, number: int) -> Attempt | None:
    """Wait for the attempt after `number`; return None when the task has finished without one."""
    while True:
        finished = lookup.find(task.task_id).is_finished
        found = Attempt.objects.filter(task_id=task.task_id, number__gt=number).order_by("number").first()
        if found or finished:
            return found
        time.sleep(POLL_SEC)
