"""Nothing is lost and nothing repeated when the client, the web process or Redis is away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import redis

from absurd_project.local import servers
from tests.daphne_server import free_port, serving
from tests.tasks_app.feed.feed_clients import SocketClient, socket
from tests.tasks_app.feed.followers import following, heard_all, many_more_are_committed, until, writing
from tests.tasks_app.listeners import in_thread
from tests.tasks_app.notes import spawn_note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]

CUT_SEC = 60.0
PROMPT_SEC = 0.5
"""Half of what the reader would need on average if nothing woke it."""


@contextlib.asynccontextmanager
async def serving_aside(environment: dict[str, str], port: int) -> AsyncIterator[psutil.Process]:
    """Yield the web process; the clients of this event loop go on while it starts and stops."""
    web = serving(environment, port=port)
    await asyncio.to_thread(web.__enter__)
    try:
        (process,) = [each for each in psutil.Process().children() if str(port) in each.cmdline()]
        yield process
    finally:
        await asyncio.to_thread(web.__exit__, None, None, None)


@pytest.fixture
def own_redis(live_environment: dict[str, str], private_servers: Path, settings) -> Path:
    """Let web process and test talk over a Redis that may be killed; return its state directory."""
    url = servers.redis_url(private_servers)
    layer = settings.CHANNEL_LAYERS["default"]
    settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {**layer["CONFIG"], "hosts": [url]}}}
    live_environment["ABSURD_REDIS_URL"] = url
    return private_servers


def kill_redis(var: Path) -> None:
    os.kill(servers.status(var).valkey_pid or 0, signal.SIGKILL)


async def test_a_client_that_was_cut_off_hears_what_it_missed(live_environment):
    await in_thread(spawn_note)()
    async with serving_aside(live_environment, port := free_port()), following(port) as follower:
        with writing():
            await follower.hears_on()
            follower.cut_off()
            await many_more_are_committed()
            follower.mend()
            await follower.hears_on()
        await heard_all(follower)
        assert follower.connections == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
async def test_a_restart_of_the_web_process_loses_and_repeats_nothing(live_environment, number):
    await in_thread(spawn_note)()
    port = free_port()
    async with following(port) as follower, contextlib.AsyncExitStack() as second:
        with writing():
            async with serving_aside(live_environment, port) as web:
                await follower.hears_on()
                web.send_signal(number)
                await until(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE)
            await many_more_are_committed()
            await second.enter_async_context(serving_aside(live_environment, port))
            await until(lambda: follower.connections >= 2)
            await follower.hears_on()
        await heard_all(follower)


async def delay_sec(client: SocketClient) -> float:
    """Commit an event and return how long it takes to be heard."""
    await in_thread(spawn_note)()
    started = time.monotonic()
    await client.first("task_update")
    return time.monotonic() - started


async def listened_to(var: Path) -> None:
    """Wait until a reader of the feed has its subscription in Redis."""
    with contextlib.closing(redis.Redis.from_url(servers.redis_url(var))) as client:
        await until(lambda: bool(client.pubsub_channels()))


async def test_while_redis_is_away_events_arrive_late_and_after_it_at_once_again(live_environment, own_redis):
    await in_thread(spawn_note)()
    async with serving_aside(live_environment, port := free_port()), following(port) as follower:
        with writing():
            await follower.hears_on()
            await listened_to(own_redis)
            kill_redis(own_redis)
            await many_more_are_committed()
        await heard_all(follower)
        await asyncio.to_thread(servers.ensure, own_redis)
        await listened_to(own_redis)
        async with socket(port, "types=task_update") as client, asyncio.timeout(60):
            await client.next()
            prompt = 0
            while prompt < 5:
                prompt += await delay_sec(client) < PROMPT_SEC
        await heard_all(follower)
        assert follower.connections == 1


@pytest.mark.realtime
async def test_a_minute_without_the_network_and_restarts_of_redis_and_web_lose_and_repeat_nothing(
    live_environment, own_redis
):
    await in_thread(spawn_note)()
    port = free_port()
    async with following(port) as follower, contextlib.AsyncExitStack() as second:
        with writing():
            async with serving_aside(live_environment, port) as web:
                await follower.hears_on()
                follower.cut_off()
                missed = asyncio.create_task(many_more_are_committed())
                await asyncio.sleep(CUT_SEC)
                assert missed.done() and follower.connections == 1
                follower.mend()
                await until(lambda: follower.connections == 2)
                await follower.hears_on()
                kill_redis(own_redis)
                await many_more_are_committed()
                await asyncio.to_thread(servers.ensure, own_redis)
                await follower.hears_on()
                assert follower.connections == 2
                web.kill()
                await until(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE)
            await many_more_are_committed()
            await second.enter_async_context(serving_aside(live_environment, port))
            await until(lambda: follower.connections >= 3)
            await follower.hears_on()
        await heard_all(follower)
        print(f"{len(follower.heard)} events heard, each once and in order, over {follower.connections} connections")
