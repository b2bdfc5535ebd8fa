"""Nothing is lost and nothing repeated when the client, the web process or Redis is away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import websockets

from absurd_project import embedded
from tasks_app.models import TaskEvent
from tests.daphne_server import free_port, serving
from tests.tasks_app.feed_clients import SocketClient, socket, understood
from tests.tasks_app.listeners import in_thread
from tests.tasks_app.notes import spawn_note
from tests.tasks_app.slow_writers import write_for_a_while

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]

WRITERS = 3


class Follower:
    """A client that reconnects by itself and goes on from the last number that it has seen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._position: int | None = None
        self.heard: list[int] = []
        self.connections = 0
        self.restarts = 0
        self.cut = asyncio.Event()
        self.mended = asyncio.Event()
        self.mended.set()

    async def follow(self) -> None:
        while True:
            await self.mended.wait()
            with contextlib.suppress(OSError, websockets.InvalidHandshake, websockets.ConnectionClosed, EOFError):
                await self._listen()
            await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        since = "since=0" if self._position is None else f"since={self._position}"
        async with socket(self._port, f"{since}&types=task_update") as client:
            self.connections += 1
            reading = asyncio.create_task(self._read(client.socket))
            cutting = asyncio.create_task(self.cut.wait())
            done, left = await asyncio.wait({reading, cutting}, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
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


@contextlib.contextmanager
def writing(seconds: float) -> Iterator[Callable[[], bool]]:
    """Have several slow writers commit events; yield whether they still do."""
    until = time.monotonic() + seconds
    writers = [threading.Thread(target=write_for_a_while, args=(number, until)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield lambda: any(writer.is_alive() for writer in writers)
    finally:
        for writer in writers:
            writer.join()


def committed() -> list[int]:
    return list(TaskEvent.objects.exclude(to_status="").order_by("id").values_list("id", flat=True))


async def heard_all(follower: Follower, patience_sec: float = 30) -> None:
    deadline = time.monotonic() + patience_sec
    while len(follower.heard) < len(await in_thread(committed)()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert follower.heard == await in_thread(committed)()
    assert follower.restarts == 0


@contextlib.asynccontextmanager
async def following(port: int):
    follower = Follower(port)
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_client_that_was_cut_off_hears_what_it_missed(live_environment):
    await in_thread(spawn_note)()
    with serving(live_environment) as port:
        async with following(port) as follower:
            with writing(6.0) as still_writing:
                await asyncio.sleep(1.5)
                follower.mended.clear()
                follower.cut.set()
                before = len(await in_thread(committed)())
                await asyncio.sleep(2.5)
                assert len(await in_thread(committed)()) > before
                follower.cut.clear()
                follower.mended.set()
                while still_writing():
                    await asyncio.sleep(0.05)
            await heard_all(follower)
            assert follower.connections == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
async def test_a_restart_of_the_web_process_loses_and_repeats_nothing(live_environment, number):
    await in_thread(spawn_note)()
    port = free_port()
    async with following(port) as follower:
        with writing(14.0) as still_writing:
            with serving(live_environment, port=port) as _:
                await asyncio.sleep(1.5)
                assert follower.heard
                (web,) = [each for each in psutil.Process().children() if str(port) in each.cmdline()]
                web.send_signal(number)
                await asyncio.sleep(0.5)
            starting = serving(live_environment, port=port)
            await asyncio.to_thread(starting.__enter__)
            try:
                while still_writing():
                    await asyncio.sleep(0.05)
                await heard_all(follower)
                assert follower.connections >= 2
            finally:
                await asyncio.to_thread(starting.__exit__, None, None, None)


async def delay_sec(client: SocketClient) -> float:
    """Commit an event and return how long it takes to be heard."""
    await in_thread(spawn_note)()
    started = time.monotonic()
    await client.first("task_update")
    return time.monotonic() - started


async def test_while_redis_is_away_events_arrive_late_and_after_it_at_once_again(
    live_environment, private_servers, settings
):
    own = embedded.redis_url(private_servers)
    layer = settings.CHANNEL_LAYERS["default"]
    settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {**layer["CONFIG"], "hosts": [own]}}}
    await in_thread(spawn_note)()
    with serving({**live_environment, "ABSURD_REDIS_URL": own}) as port:
        async with following(port) as follower, socket(port, "types=task_update") as client:
            await client.next()
            with writing(4.0) as still_writing:
                await asyncio.sleep(1.0)
                os.kill(embedded.status(private_servers).valkey_pid or 0, signal.SIGKILL)
                while still_writing():
                    await asyncio.sleep(0.05)
            await heard_all(follower)
            await asyncio.to_thread(embedded.ensure, private_servers)
            while not await client.silence(1.5):
                pass
            async with asyncio.timeout(60):  # the reader asks again at growing intervals of up to 15 s
                prompt = 0
                while prompt < 5:
                    prompt = prompt + 1 if await delay_sec(client) < 0.25 else 0
                    await asyncio.sleep(0.3)
            await heard_all(follower)
            assert follower.connections == 1
