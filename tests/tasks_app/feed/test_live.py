"""The feed under conditions: a real web process, many writers, no Redis, another database's locks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time

import psycopg
import pytest
import websockets
from django.conf import settings
from django.db import connection, transaction

from tasks_app.engine.complete import complete_task
from tasks_app.engine.events import NAMESPACE
from tasks_app.engine.notify import Publisher
from tasks_app.models import TaskEvent
from tests.daphne_server import serving
from tests.tasks_app.feed.followers import many_more_are_committed, writing
from tests.tasks_app.listeners import in_thread, listening
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS = 6


async def test_a_real_web_process_sends_what_other_processes_commit(live_environment):
    def story() -> None:
        spawn_note()
        complete_task(claim_one(make_worker()), {"ok": True}, REPORT)

    with serving(live_environment) as port:
        address = f"ws://127.0.0.1:{port}/ws/status"
        async with websockets.connect(address) as client:
            assert json.loads(await client.recv())["type"] == "hello"
            await in_thread(story)()
            messages = [json.loads(await client.recv()) for _ in range(4)]
        updates = [each for each in messages if each["type"] == "task_update"]
        assert [each["update"]["status"] for each in updates[:2]] == ["pending", "claimed"]
        async with websockets.connect(f"{address}?since={updates[0]['event_id']}") as client:
            await client.recv()
            replayed = json.loads(await client.recv())
        assert replayed["event_id"] == updates[1]["event_id"]
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(address, origin="https://evil.example.org").__aenter__()
        assert refused.value.response.status_code == 403
        async with websockets.connect(address, additional_headers={"X-API-Key": "nonsense"}) as client:
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert client.close_code == 4401


async def test_with_many_slow_writers_no_event_is_lost_doubled_or_out_of_order():
    await in_thread(spawn_note)()
    async with listening() as early, contextlib.AsyncExitStack() as stack:
        with writing(WRITERS):
            await many_more_are_committed()
            late = await stack.enter_async_context(listening("since=0"))
            await many_more_are_committed()
        committed = await in_thread(lambda: list(TaskEvent.objects.order_by("id").values_list("id", flat=True)))()
        replayed = [each["event_id"] for each in await late.updates(len(committed), timeout=60)]
        live = [each["event_id"] for each in await early.updates(len(committed) - 1, timeout=60)]
    assert replayed == committed
    assert live == committed[1:]


async def test_an_event_waits_for_an_open_transaction_with_a_lower_number():
    opened, may_commit = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            spawn_note(priority=1)
            opened.set()
            may_commit.wait(10)
        connection.close()

    writer = threading.Thread(target=slow)
    await in_thread(spawn_note)()  # makes the queue, so that the second writer need not wait for it
    async with listening() as listener:
        writer.start()
        await asyncio.to_thread(opened.wait, 10)
        await in_thread(spawn_note)(priority=2)
        assert await listener.communicator.receive_nothing(0.5, 0.02)
        may_commit.set()
        output = await listener.updates(2)
        assert [each["update"]["priority"] for each in output] == [1, 2]
        writer.join()


async def test_a_lock_in_another_database_of_the_cluster_holds_nothing_back():
    database = settings.DATABASES["default"]
    other = {"host": database["HOST"], "user": "postgres", "dbname": "postgres", "autocommit": True}
    with psycopg.connect(**other) as stranger:
        stranger.execute("SELECT pg_advisory_lock_shared(%s)", [NAMESPACE << 48])
        async with listening() as listener:
            task = await in_thread(spawn_note)()
            (output,) = await listener.updates(1, timeout=60)
    assert output["task_id"] == str(task.task_id)


@pytest.fixture
def no_redis(settings, tmp_path):
    """A channel layer whose Redis does not answer."""
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [f"unix://{tmp_path}/nobody.sock"]},
    }
    settings.CHANNEL_LAYERS = {"default": layer}


async def test_without_redis_the_poll_delivers_and_commits_are_not_held_up(no_redis):
    async with listening() as listener:
        await in_thread(spawn_note)()
        await listener.updates(1, timeout=60)


def test_a_publisher_without_redis_complains_once(no_redis, caplog):
    publisher = Publisher()
    for _ in range(3):
        publisher.announce()
        time.sleep(0.15)
    assert publisher.failures >= 2
    assert len([record for record in caplog.records if "wake-ups are not sent" in record.message]) == 1


@pytest.mark.realtime
async def test_a_commit_is_heard_long_before_the_poll():
    delays = []
    async with listening() as listener:
        await in_thread(spawn_note)()
        await listener.updates(1)
        for _ in range(10):
            await in_thread(spawn_note)()
            committed = time.monotonic()
            await listener.updates(1)
            delays.append(time.monotonic() - committed)
            await asyncio.sleep(0.02)
    assert sorted(delays)[5] < 0.25
