"""Committed events in order to every client of this process: one reader, a bounded outbox for each client.

The reader is woken over the channel layer and polls once a second anyway. All state here belongs to one event loop, so
that a client which has caught up with the reader joins it between two batches: nothing is lost and nothing doubled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import connection

from tasks_app.engine.events import archived_limit, readable_limit
from tasks_app.engine.notify import GROUP
from tasks_app.feed.messages import messages_of
from tasks_app.feed.outbox import MESSAGES_MOST, Batch, Outbox
from tasks_app.models import TaskEvent
from tasks_app.postgresql import outages

POLL_SEC = 1.0
WITHHELD_SEC = 0.01
PAGE_EVENTS = 500
DRAIN_SEC = 0.1
LISTEN_AGAIN_MOST_SEC = 15.0
CANCEL_AGAIN_SEC = 0.25

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def read_after(position: int, up_to: int | None = None) -> Batch:
    """Read the next page of committed events that no earlier one can still join."""
    limit, last_value = readable_limit()
    if last_value < position:
        return Batch(events=[], position=limit, restarted=True)
    end = limit if up_to is None else min(limit, up_to)
    if end <= position:
        return Batch(events=[], position=position, withheld=limit < last_value)
    page = list(TaskEvent.objects.filter(id__gt=position, id__lte=end).order_by("id")[:PAGE_EVENTS])
    # Read after the page, so that events archived meanwhile are not skipped silently.
    if archived_limit() > position:
        return Batch(events=[], position=limit, restarted=True)
    more = len(page) == PAGE_EVENTS
    return Batch(
        events=messages_of(page), position=page[-1].id if more else end, more=more, withheld=limit < last_value
    )


class Feed:
    """The reader and the clients of one event loop. It reads only while there are clients."""

    def __init__(self) -> None:
        self._outboxes: set[Outbox] = set()
        self._position: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._reader = ThreadPoolExecutor(1, "feed-reader")
        self._replayers = ThreadPoolExecutor(2, "feed-replay")
        self._faults: set[str] = set()

    @property
    def position(self) -> int | None:
        """The last event that was delivered to the clients; None while there are no clients."""
        return self._position if self._tasks else None

    async def latest(self) -> tuple[int, int, int]:
        """Return the event up to which everything may be read, the last number drawn, and the highest archived one."""
        return await self._call_until_answered(_and_close(_limits))

    async def catch_up(self, outbox: Outbox) -> Batch:
        """Return the next page of events after the client's position, up to where the reader is."""
        return await self._call_until_answered(_and_close(read_after), outbox.position, self._position)

    def join(self, outbox: Outbox) -> bool:
        """Deliver to the client from now on, unless it has yet to catch up with the reader."""
        if self._position is None:
            self._position = outbox.position
        if outbox.position < self._position:
            return False
        self._outboxes.add(outbox)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._read_on()), asyncio.create_task(self._listen())]
        return True

    async def leave(self, outbox: Outbox) -> None:
        """Deliver nothing more to the client; after the last one, stop reading."""
        self._outboxes.discard(outbox)
        if self._outboxes or not self._tasks:
            return
        tasks, self._tasks, self._position = self._tasks, [], None
        await _end(tasks)
        if not self._tasks:
            await self._call(self._reader, _close_connection)

    async def _read_on(self) -> None:
        while True:
            try:
                batch = await self._call(self._reader, read_after, self._position)
            except Exception as error:
                self._log_once("the database", error)
                await self._call(self._reader, _close_connection)
                await asyncio.sleep(POLL_SEC)
                continue
            self._faults.discard("the database")
            self._position = batch.position
            for outbox in self._outboxes:
                outbox.offer(batch)
            if batch.more:
                await self._let_outboxes_drain()
            elif batch.withheld:
                await asyncio.sleep(WITHHELD_SEC)
            else:
                await self._wait_for_wake()

    async def _wait_for_wake(self) -> None:
        # Not asyncio.wait_for: when the wake-up arrives in the same moment, Python 3.11's swallows a cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SEC):
                await self._woken.wait()
        self._woken.clear()

    async def _let_outboxes_drain(self) -> None:
        """Give the clients time between two pages; one that hangs must not delay the others for long."""
        deadline = asyncio.get_running_loop().time() + DRAIN_SEC
        await asyncio.sleep(0)
        while asyncio.get_running_loop().time() < deadline and any(
            len(outbox) > MESSAGES_MOST // 2 for outbox in self._outboxes
        ):
            await asyncio.sleep(WITHHELD_SEC)

    async def _listen(self) -> None:
        """Turn messages of the channel layer into wake-ups; without it the reader polls."""
        pause_sec = POLL_SEC
        while True:
            layer = get_channel_layer()
            if layer is None:
                return
            try:
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                self._faults.discard("the channel layer")
                pause_sec = POLL_SEC
                await self._receive(layer, channel)
            except Exception as error:
                self._log_once("the channel layer", error)
            await asyncio.sleep(pause_sec)
            pause_sec = min(2 * pause_sec, LISTEN_AGAIN_MOST_SEC)

    async def _receive(self, layer: Any, channel: str) -> None:
        try:
            while True:
                await layer.receive(channel)
                self._woken.set()
        finally:
            with contextlib.suppress(Exception):
                await layer.group_discard(GROUP, channel)

    def _log_once(self, what: str, error: Exception) -> None:
        if what not in self._faults:
            self._faults.add(what)
            logger.warning("the feed lost its connection to %s and retries: %s", what, error or type(error).__name__)

    async def _call_until_answered(self, work: Callable[..., T], *args: object) -> T:
        """Call for one client, which waits during an outage of the database."""
        while True:
            try:
                return await self._call(self._replayers, work, *args)
            except Exception as error:
                if not outages.is_outage(error):
                    raise
                self._log_once("the database", error)
            await asyncio.sleep(POLL_SEC)

    async def _call(self, threads: ThreadPoolExecutor, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *args)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: what awaits asyncio.wait_for in Python 3.11 may miss it once."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SEC)


def _limits() -> tuple[int, int, int]:
    return *readable_limit(), archived_limit()


def _close_connection() -> None:
    connection.close()  # of this thread: each has its own


def _and_close(work: Callable[P, T]) -> Callable[P, T]:
    """Give the connection back after the work, which runs in a thread that may not be used again for long."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        finally:
            connection.close()

    return wrapped


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, Feed] = WeakKeyDictionary()


def feed() -> Feed:
    """Return the feed of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _feeds:
        _feeds[loop] = Feed()
    return _feeds[loop]


def positions() -> list[int]:
    """Return up to which event each reader of this process has delivered; only feeds with clients read."""
    return [each.position for each in list(_feeds.values()) if each.position is not None]
