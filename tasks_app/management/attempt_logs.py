"""The log of an attempt: the file where it can be reached, else the tail that the database keeps."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tasks_app.engine import lookup
from tasks_app.feed.attempt_logs import start_of_tail
from tasks_app.models import Attempt, Task

POLL_SEC = 0.5
CHUNK_BYTES = 65_536


def readable(attempt: Attempt) -> Path | None:
    """Return the log's path when this host and user can read it."""
    path = Path(attempt.log_path)
    return path if attempt.log_path and path.is_file() and os.access(path, os.R_OK) else None


def last_lines(path: Path, lines: int) -> tuple[str, int]:
    """Return the last lines of a log, and the position behind them."""
    with path.open("rb") as log:
        log.seek(start_of_tail(log, lines))
        found = log.read()
        return found.decode(errors="replace"), log.tell()


def new_text(path: Path, position: int, attempt: Attempt) -> Iterator[str]:
    """Yield what is written behind a position, until the attempt has ended."""
    with path.open("rb") as log:
        log.seek(position)
        while True:
            # Asked before reading, so that what is written last is read too.
            over = has_ended(attempt)
            while chunk := log.read(CHUNK_BYTES):
                yield chunk.decode(errors="replace")
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
