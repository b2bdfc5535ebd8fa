"""The logs of running attempts as they are written: one tailer a task and process, shared by its clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from tasks_app.feed.log_files import Piece, Source, latest, log_message, read_on, tail_before
from tasks_app.feed.messages import Message
from tasks_app.feed.outbox import Outbox

TICK_SEC = 0.25
LOOK_SEC = 1.0
WAITING_CHARACTERS_MOST = 4 * 1024 * 1024

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


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
                await self._tell()
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

    async def _tell(self) -> None:
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
