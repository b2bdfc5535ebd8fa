"""The logs of attempts: where they are, their last lines, and their text as it is written.

A client of the feed shares one tailer a task and process; a request over HTTP follows the bytes of one log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connection

from tasks_app.errors import FilesBusy
from tasks_app.feed import other_hosts
from tasks_app.feed.messages import LOG, Message
from tasks_app.feed.outbox import Outbox
from tasks_app.files.bounded_calls import in_time, in_time_async
from tasks_app.files.http_streaming import CHUNK_BYTES, open_file, open_regular
from tasks_app.files.remote import NotFetched
from tasks_app.models import Attempt

MESSAGE_BYTES_MOST = 64 * 1024
TAIL_BYTES = 16 * 1024
BEHIND_BYTES_MOST = 1024 * 1024
"""A tailer that is further behind continues from the end."""
POLL_SEC = 0.25
"""How often a log is read on."""
LOOK_SEC = 1.0
"""How often the database is asked for the latest attempt and whether it has ended, and a log of another host read."""
AGAIN_SEC = 5.0
"""How soon a log that could not be fetched from its host is asked for again."""
WAITING_CHARACTERS_MOST = 4 * 1024 * 1024
BLOCK_BYTES = 1 << 16
TAIL_BYTES_MOST = 8 << 20
FOLLOW_SEC = 600.0
"""A request that follows a log ends after this time; its client connects again."""

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def root() -> Path:
    """Return the directory under which workers on this host write the logs."""
    return (settings.ABSURD_VAR / "log" / "attempts").resolve()


def locate(attempt: Attempt) -> Path | None:
    """Return the resolved path of the attempt's log; None where it is not a file below `root`."""
    return in_time(Path(attempt.log_path), _resolved, Path(attempt.log_path)) if attempt.log_path else None


def open_log(attempt: Attempt) -> BinaryIO:
    """Open the log of an attempt, here or on its host. Raises OSError, whose text says why, and FilesBusy."""
    if not attempt.log_path:
        raise FileNotFoundError("it wrote no log")
    path = locate(attempt)
    if path is not None:
        return open_file(path)
    host = attempt.worker.host if attempt.worker else ""
    return cast(BinaryIO, other_hosts.open_file(host, attempt.log_path))


def _resolved(path: Path) -> Path | None:
    try:
        path = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path.is_relative_to(root()) and path.is_file() else None


def start_of_tail(file: BinaryIO, lines: int) -> int:
    """Return where the last n lines begin, TAIL_BYTES_MOST before the end at the earliest."""
    end = place = file.seek(0, 2)
    earliest = max(0, end - TAIL_BYTES_MOST)
    left = lines
    while place > earliest:
        begin = max(earliest, place - BLOCK_BYTES)
        file.seek(begin)
        block = file.read(place - begin)
        # The newline that ends the last line begins no other.
        cut = len(block) - 1 if place == end and block.endswith(b"\n") else len(block)
        while (cut := block.rfind(b"\n", 0, cut)) >= 0:
            left -= 1
            if left == 0:
                return begin + cut + 1
        place = begin
    return earliest


async def read_until_end(file: BinaryIO, start: int, has_ended: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """Yield the bytes of a log from a position on, and what is written to it until the attempt has ended."""
    now = asyncio.get_running_loop().time
    until, check_at, ended = now() + FOLLOW_SEC, now(), False
    with file:
        file.seek(start)
        while True:
            if now() >= check_at:
                ended, check_at = await has_ended(), now() + LOOK_SEC
            try:
                while part := await in_time_async(Path(file.name), file.read, CHUNK_BYTES):
                    yield part
            except NotFetched as error:  # its client connects again, and is answered why if it lasts
                logger.info("the log %s cannot be followed any more: %s", file.name, error)
                return
            if ended or now() >= until:
                return
            await asyncio.sleep(POLL_SEC)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The latest attempt of a task and where its log is."""

    number: int
    path: str
    host: str
    ended: bool

    @property
    def is_here(self) -> bool:
        """Whether the log is below `root`, which this host may share with that of the attempt."""
        path = Path(self.path).resolve()
        return path.is_relative_to(root()) and (self.host == platform.node() or path.exists())

    @property
    def is_nowhere(self) -> bool:
        """Whether this host has made the log at a place where it is not read."""
        return self.host in ("", platform.node()) and not self.is_here


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a log: whole lines, unless there is no end of a line or no more to come."""

    offset: int
    data: bytes
    skipped_bytes: int = 0

    @property
    def end(self) -> int:
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
    """Read on in a log from an offset, or its tail; nothing where this host has none. Raises NotFetched, FilesBusy."""
    with _opened(source) as (file, size):
        begin = max(0, size - TAIL_BYTES) if offset is None else min(offset, size)
        skipped = max(0, size - TAIL_BYTES - begin) if size - begin > BEHIND_BYTES_MOST else 0
        begin, data = _from_a_line_on(file, begin + skipped, cut=offset is None or skipped > 0)
        whole = data.rfind(b"\n") + 1
        is_part = begin + len(data) < size or not to_the_end
        if is_part and (whole or len(data) < MESSAGE_BYTES_MOST):
            data = data[:whole]
        return Piece(offset=begin, data=data, skipped_bytes=skipped and begin - (offset or 0))


def tail_before(source: Source, offset: int) -> Piece:
    """Read the last lines before an offset. Raises NotFetched, FilesBusy."""
    with _opened(source) as (file, _):
        begin, data = _from_a_line_on(file, max(0, offset - TAIL_BYTES), cut=True)
        return Piece(offset=begin, data=data[: max(0, offset - begin)])


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, int]]:
    """Yield a log and its size; an empty file when there is none here. Raises NotFetched, FilesBusy."""
    if not source.is_here:
        try:
            remote = other_hosts.open_file(source.host, source.path)
        finally:
            connection.close()
        with remote:
            yield cast(BinaryIO, remote), remote.size_and_time()[0]
        return
    path = Path(source.path)
    try:
        # Neither a link nor a pipe that a task has put in its log's place.
        file = open_regular(path.parent.resolve() / path.name)
    except OSError:
        file = None
    with file or Path(os.devnull).open("rb") as opened:
        yield opened, os.fstat(opened.fileno()).st_size


def _from_a_line_on(file: BinaryIO, begin: int, *, cut: bool) -> tuple[int, bytes]:
    """Read from a position; in the middle of a log, what is before the first whole line is cut off."""
    file.seek(begin)
    data = file.read(MESSAGE_BYTES_MOST)
    start = data.find(b"\n") + 1 if cut and begin > 0 else 0
    return begin + start, data[start:]


def log_message(
    task_id: UUID, source: Source, piece: Piece, *, ended: bool = False, unread_because: str = ""
) -> Message:
    """Return what was written since the last message of this log, or why it cannot be read."""
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
    if unread_because:
        fields |= {"elsewhere": True, "reason": unread_because}
    elif ended:
        fields["ended"] = True
    return Message(type=LOG, text=json.dumps(fields))


class Tailer:
    """Follows the log of one task from attempt to attempt for all its clients."""

    def __init__(self, task_id: UUID) -> None:
        self._task_id = task_id
        self._outboxes: set[Outbox] = set()
        self._source: Source | None = None
        self._offset: int | None = None
        self._over = False
        """Whether all that can be sent of this attempt's log has been."""
        self._unread_because = ""
        """Why the log cannot be read; empty while it can."""
        self._next_at = 0.0
        """When a log of another host is read on."""
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._outboxes)

    async def add(self, outbox: Outbox) -> None:
        """Send the log's tail to a client and from then on what is written."""
        while self._task is not None and (source := self._source) is not None:
            offset, over = self._offset, self._over
            if self._unread_because:
                self._send(self._unread(source), [outbox])
                break
            if offset is None:
                break
            try:
                piece = await _in_thread(source, tail_before, source, offset)
            except (NotFetched, FilesBusy):  # what is sent to all will say so
                break
            if (source, offset, over) == (self._source, self._offset, self._over):
                self._send(log_message(self._task_id, source, piece, ended=over), [outbox])
                break
        self._outboxes.add(outbox)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def remove(self, outbox: Outbox) -> None:
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
            await asyncio.sleep(POLL_SEC)

    async def _look(self) -> None:
        """See which attempt is the latest and whether it is over."""
        found = await _in_thread(None, latest, self._task_id)
        if found is not None and (self._source is None or found.number != self._source.number):
            self._offset = None if self._source is None else 0
            self._over, self._unread_because, self._next_at = False, "", 0.0
        self._source = found or self._source

    async def _send_new(self) -> None:
        source, now = self._source, asyncio.get_running_loop().time()
        if source is None or self._over or now < self._next_at:
            return
        if not source.is_here:
            self._next_at = now + LOOK_SEC
        try:
            piece = await _in_thread(source, read_on, source, self._offset, to_the_end=source.ended)
        except (NotFetched, FilesBusy) as error:
            self._over = source.is_nowhere
            self._next_at = now + AGAIN_SEC
            if str(error) != self._unread_because:
                self._unread_because = str(error)
                self._send(self._unread(source), self._outboxes)
            return
        self._unread_because = ""
        self._over = source.ended and not piece.data
        self._offset = piece.end
        if piece.data or self._over:
            self._send(log_message(self._task_id, source, piece, ended=self._over), self._outboxes)

    def _unread(self, source: Source) -> Message:
        piece = Piece(offset=self._offset or 0, data=b"")
        return log_message(self._task_id, source, piece, unread_because=self._unread_because)

    def _send(self, message: Message, outboxes: Iterable[Outbox]) -> None:
        for outbox in outboxes:
            if outbox.characters < WAITING_CHARACTERS_MOST:  # a gap shows in the offsets
                outbox.add(message)


_readers = ThreadPoolExecutor(2, "feed-logs")
_remote_readers = ThreadPoolExecutor(4, "feed-remote-logs")
"""Others, because a host that does not answer keeps them waiting."""
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


async def _in_thread(source: Source | None, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    readers = _readers if source is None or source.is_here else _remote_readers
    return await asyncio.get_running_loop().run_in_executor(readers, lambda: work(*args, **kwargs))
