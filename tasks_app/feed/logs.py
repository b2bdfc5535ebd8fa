"""The logs of running attempts as they are written: one tailer a task and process, shared by its clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection

from tasks_app.feed.messages import LOG, Message
from tasks_app.feed.outbox import Outbox
from tasks_app.models import Attempt

MESSAGE_BYTES_MOST = 64 * 1024
TAIL_BYTES = 16 * 1024
BEHIND_BYTES_MOST = 1024 * 1024
"""A tailer that is further behind continues from the end."""
TICK_SEC = 0.25
LOOK_SEC = 1.0
WAITING_CHARACTERS_MOST = 4 * 1024 * 1024

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


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
    fields: dict[str, object] = {
        "type": LOG,
        "task_id": str(task_id),
        "attempt": source.number,
        "host": source.host,
        "offset": piece.offset,
        "text": piece.data.decode(errors="replace"),
    }
    if piece.skipped_bytes:
        fields["skipped_bytes"] = piece.skipped_bytes
    if not source.is_here:
        fields["elsewhere"] = True
    elif ended:
        fields["ended"] = True
    return Message(type=LOG, text=json.dumps(fields))


class Tailer:
    """Follows the log of one task from attempt to attempt for all who want it."""

    def __init__(self, task_id: UUID) -> None:
        self._task_id = task_id
        self._outboxes: set[Outbox] = set()
        self._source: Source | None = None
        self._offset: int | None = None
        self._over = False
        """Whether all that can be sent of this attempt's log has been."""
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._outboxes)

    async def add(self, outbox: Outbox) -> None:
        """Send the log's tail to a client and from then on what is written."""
        while self._task is not None and (source := self._source) is not None and (offset := self._offset) is not None:
            over, piece = self._over, await _in_thread(tail_before, source, offset)
            if (source, offset, over) == (self._source, self._offset, self._over):
                self._send(log_message(self._task_id, source, piece, ended=over), [outbox])
                break
        self._outboxes.add(outbox)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def remove(self, outbox: Outbox) -> None:
        """Send nothing more to a client."""
        self._outboxes.discard(outbox)
        if not self._outboxes and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        looked_at = float("-inf")
        while True:
            try:
                if (moment := asyncio.get_running_loop().time()) >= looked_at + LOOK_SEC:
                    looked_at = moment
                    await self._look()
                await self._send_new()
            except Exception:
                logger.warning("the log of task %s could not be followed", self._task_id, exc_info=True)
                await asyncio.sleep(LOOK_SEC)
            await asyncio.sleep(TICK_SEC)

    async def _look(self) -> None:
        """See which attempt is the latest and whether it is over."""
        found = await _in_thread(latest, self._task_id)
        if found is not None and (self._source is None or found.number != self._source.number):
            self._offset = None if self._source is None else 0
            self._over = False
        self._source = found or self._source

    async def _send_new(self) -> None:
        source = self._source
        if source is None or self._over:
            return
        if source.is_here:
            piece = await _in_thread(read_on, source, self._offset, to_the_end=source.ended)
            self._over = source.ended and not piece.data
        else:
            piece, self._over = Piece(offset=0, data=b""), True
        self._offset = piece.end
        if piece.data or self._over:
            self._send(log_message(self._task_id, source, piece, ended=self._over), self._outboxes)

    def _send(self, message: Message, outboxes: Iterable[Outbox]) -> None:
        for outbox in outboxes:
            if outbox.characters < WAITING_CHARACTERS_MOST:  # a gap shows in the offsets
                outbox.add(message)


_readers = ThreadPoolExecutor(2, "feed-logs")
_tailers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[UUID, Tailer]] = WeakKeyDictionary()


async def follow(task_id: UUID, outbox: Outbox) -> None:
    """Send what a task logs to a client."""
    tailers = _tailers.setdefault(asyncio.get_running_loop(), {})
    await tailers.setdefault(task_id, Tailer(task_id)).add(outbox)


def unfollow(outbox: Outbox) -> None:
    """Send nothing more of any log to a client."""
    tailers = _tailers.get(asyncio.get_running_loop(), {})
    for task_id, tailer in list(tailers.items()):
        tailer.remove(outbox)
        if not tailer:
            del tailers[task_id]


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(_readers, lambda: work(*args, **kwargs))
