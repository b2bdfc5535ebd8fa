"""Where the log of a task's latest attempt is, and what is in it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection

from tasks_app.feed.messages import LOG, Message
from tasks_app.models import Attempt

MESSAGE_BYTES_MOST = 64 * 1024
TAIL_BYTES = 16 * 1024
BEHIND_BYTES_MOST = 1024 * 1024
"""A tailer that is further behind goes on from the end."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The latest attempt of a task and where its log is."""

    number: int
    path: str
    host: str
    ended: bool

    @property
    def is_here(self) -> bool:
        """Whether the log is a file of this host below the state directory's logs."""
        root = (settings.ABSURD_VAR / "log").resolve()
        return self.host == platform.node() and Path(self.path).resolve().is_relative_to(root)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a log: whole lines, unless there is no end of a line or no more to come."""

    offset: int
    data: bytes
    skipped_bytes: int = 0

    @property
    def end(self) -> int:
        """Where the next piece begins."""
        return self.offset + len(self.data)


def latest(task_id: UUID) -> Source | None:
    """Return the latest attempt that has a log, or None before there is one."""
    try:
        attempt = Attempt.objects.filter(task_id=task_id).order_by("-number").select_related("worker").first()
    finally:
        connection.close()
    if attempt is None or not attempt.log_path:
        return None
    host = attempt.worker.host if attempt.worker is not None else ""
    return Source(number=attempt.number, path=attempt.log_path, host=host, ended=attempt.ended_at is not None)


def read_on(source: Source, offset: int | None, *, to_the_end: bool) -> Piece:
    """Read on in a log from an offset, or its tail; nothing when it cannot be read."""
    with _opened(source) as (descriptor, size):
        begin = max(0, size - TAIL_BYTES) if offset is None else min(offset, size)
        skipped = max(0, size - TAIL_BYTES - begin) if size - begin > BEHIND_BYTES_MOST else 0
        begin, data = _from_a_line_on(descriptor, begin + skipped, cut=offset is None or skipped > 0)
        whole = data.rfind(b"\n") + 1
        is_part = begin + len(data) < size or not to_the_end
        if is_part and (whole or len(data) < MESSAGE_BYTES_MOST):
            data = data[:whole]
        return Piece(offset=begin, data=data, skipped_bytes=skipped and begin - (offset or 0))


def tail_before(source: Source, offset: int) -> Piece:
    """Read the last lines before an offset."""
    with _opened(source) as (descriptor, _):
        begin, data = _from_a_line_on(descriptor, max(0, offset - TAIL_BYTES), cut=True)
        return Piece(offset=begin, data=data[: max(0, offset - begin)])


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[tuple[int, int]]:
    """Yield a descriptor of a log and its size; of an empty file when there is none here."""
    try:
        if not source.is_here:
            raise FileNotFoundError
        # Neither a link nor a pipe that a task has put in its log's place.
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _from_a_line_on(descriptor: int, begin: int, *, cut: bool) -> tuple[int, bytes]:
    """Read from a position; in the middle of a log, what is before the first whole line is cut off."""
    data = os.pread(descriptor, MESSAGE_BYTES_MOST, begin)
    start = data.find(b"\n") + 1 if cut and begin > 0 else 0
    return begin + start, data[start:]


def log_message(task_id: UUID, source: Source, piece: Piece, *, ended: bool = False) -> Message:
    """Return what was written since the last message of this log."""
    told: dict[str, object] = {
        "type": LOG,
        "task_id": str(task_id),
        "attempt": source.number,
        "host": source.host,
        "offset": piece.offset,
        "text": piece.data.decode(errors="replace"),
    }
    if piece.skipped_bytes:
        told["skipped_bytes"] = piece.skipped_bytes
    if not source.is_here:
        told["elsewhere"] = True
    elif ended:
        told["ended"] = True
    return Message(kind=LOG, text=json.dumps(told))
