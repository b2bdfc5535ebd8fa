"""A client of the feed that outlives its connections, and events that are committed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import websockets

from tasks_app.models import TaskEvent
from tests.tasks_app.feed.feed_clients import socket, understood
from tests.tasks_app.feed.slow_writers import write_until
from tests.tasks_app.listeners import in_thread

WRITERS = 3
PATIENCE_SEC = 90.0


class Follower:
    """Reconnects by itself and goes on from the last number that it has seen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._position: int | None = None
        self.heard: list[int] = []
        self.connections = 0
        self.restarts = 0
        self._cut = asyncio.Event()
        self._mended = asyncio.Event()
        self._mended.set()

    def cut_off(self) -> None:
        """Break the connection without a word, and make none until it is mended."""
        self._mended.clear()
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()
        self._mended.set()

    async def follow(self) -> None:
        while True:
            await self._mended.wait()
            with contextlib.suppress(OSError, websockets.InvalidHandshake, websockets.ConnectionClosed, EOFError):
                await self._listen()
            await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        since = "since=0" if self._position is None else f"since={self._position}"
        async with socket(self._port, f"{since}&types=task_update") as client:
            self.connections += 1
            reading = asyncio.create_task(self._read(client.socket))
            cutting = asyncio.create_task(self._cut.wait())
            try:
                done, _ = await asyncio.wait({reading, cutting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                reading.cancel(), cutting.cancel()
            if cutting in done:
                client.socket.transport.abort()
            for task in done:
                task.result()

    async def _read(self, connection: websockets.ClientConnection) -> None:
        async for text in connection:
            message = understood(str(text))
            self._position = message.get("event_id", self._position)
            self.restarts += message["type"] == "resync"
            if message["type"] == "task_update":
                self.heard.append(message["event_id"])

    async def hears_on(self, more: int = 20) -> None:
        """Wait until a number of further events have been received."""
        wanted = len(self.heard) + more
        await until(lambda: len(self.heard) >= wanted)


@contextlib.asynccontextmanager
async def following(port: int) -> AsyncIterator[Follower]:
    follower = Follower(port)
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def writing(writers: int = WRITERS) -> Iterator[None]:
    """Have several slow writers commit events all the while."""
    enough = threading.Event()
    threads = [threading.Thread(target=write_until, args=(number, enough)) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something; an event loop that gets its turn seldom is given the time it takes."""
    async with asyncio.timeout(PATIENCE_SEC):
        while not true():
            await asyncio.sleep(0.05)


def committed() -> list[int]:
    return list(TaskEvent.objects.exclude(to_status="").order_by("id").values_list("id", flat=True))


async def many_more_are_committed(more: int = 100) -> None:
    """Wait until a number of further events have been committed."""
    count = in_thread(TaskEvent.objects.exclude(to_status="").count)
    wanted = await count() + more
    async with asyncio.timeout(PATIENCE_SEC):
        while await count() < wanted:
            await asyncio.sleep(0.1)


async def heard_all(follower: Follower) -> None:
    """Wait until the follower has heard as much as was committed; it was the same, in order, each once."""
    wanted = await in_thread(committed)()
    deadline = time.monotonic() + PATIENCE_SEC
    while len(follower.heard) < len(wanted) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert len(follower.heard) == len(wanted)
    assert follower.heard == wanted
    assert follower.restarts == 0
