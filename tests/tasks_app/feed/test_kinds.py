"""What the feed of a real web process says: of workers, progress and counts, to whom, and how often."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.events import Change, announce
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.models import Run, TaskEvent
from tasks_app.operations.queues import pause
from tasks_app.operations.tasks import reprioritize
from tasks_app.operations.workers import pause_worker
from tests.daphne_server import serving
from tests.tasks_app.feed.feed_clients import socket
from tests.tasks_app.listeners import in_thread, listening
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


def announced(event_type: str, **worker: object) -> None:
    with transaction.atomic():
        announce(Change(event_type=event_type, actor="worker:w1", detail={"worker": worker}))


async def test_what_happens_to_workers_is_reported(live_environment):
    with serving(live_environment) as port:
        async with socket(port) as client:
            await client.next()
            worker = await in_thread(make_worker)()
            await in_thread(pause_worker)(worker.pk, actor="user:olga", reason="noisy disk")
            output = await client.next()
            assert (output["type"], output["event_type"], output["actor"]) == (
                "worker_update",
                "worker_ordered",
                "user:olga",
            )
            assert output["reason"] == "noisy disk"
            assert output["worker"]["boot_id"] == str(worker.pk)
            assert output["event_id"] == await in_thread(lambda: TaskEvent.objects.latest("id").pk)()
            await in_thread(announced)("worker_stopped", worker_id="w1", queues=["night"])
            stopped = await client.next()
            assert (stopped["event_type"], stopped["worker"]["worker_id"]) == ("worker_stopped", "w1")
        async with socket(port, f"since={output['event_id']}") as client:
            await client.next()
            assert await client.next() == stopped


async def test_a_worker_is_of_the_queues_that_it_serves_and_of_no_task_or_run():
    await in_thread(announced)("worker_registered", worker_id="w1", queues=["night", "day"])
    for query, heard in (
        ("queue=day", True),
        ("queue=dusk", False),
        (f"task_id={uuid4()}", False),
        (f"run={uuid4()}", False),
        ("types=worker_update", True),
        ("types=task_update,progress", False),
    ):
        async with listening(f"since=0&{query}") as listener:
            if heard:
                assert (await listener.next())["event_type"] == "worker_registered"
            else:
                assert await listener.communicator.receive_nothing(0.2, 0.02)


async def test_other_events_of_no_task_are_not_reported():
    def story() -> None:
        pause(queue.queue_id, actor="user:olga", reason="wind")
        spawn_note()

    queue = await in_thread(spawn_note)()
    async with listening() as listener:
        await in_thread(story)()
        assert (await listener.next_but_counts())["type"] == "task_update"


def claim_and_progress(*fractions: float) -> Claim:
    claim = claim_one(make_worker())
    for fraction in fractions:
        report_progress(claim, fraction=fraction, message=f"at {fraction}")
    return claim


async def test_the_kinds_can_be_chosen(live_environment):
    def story() -> None:
        complete_task(claim_and_progress(0.5), {}, REPORT)

    await in_thread(spawn_note)()
    with serving(live_environment) as port:
        async with socket(port, "types=progress") as some, socket(port, "types=queue_stats_update&types=log") as counts:
            await some.next()
            await counts.next()
            await in_thread(story)()
            output = await some.next()
            assert (output["type"], output["progress"], output["progress_message"]) == ("progress", 0.5, "at 0.5")
            assert await some.silence(0.5)
            assert (await counts.next())["type"] == "queue_stats_update"
        async with socket(port, "types=task_update,gossip") as client:
            assert await client.close_code() == 4400


async def test_of_past_progress_only_the_latest_is_replayed():
    await in_thread(spawn_note)()
    await in_thread(claim_and_progress)(0.1, 0.2, 0.9)
    async with listening("since=0&types=progress,task_update") as listener:
        output = [await listener.next() for _ in range(3)]
        assert [(each["type"], each.get("progress")) for each in output] == [
            ("task_update", None),
            ("task_update", None),
            ("progress", 0.9),
        ]
        assert await listener.communicator.receive_nothing(0.2, 0.02)


async def test_a_task_is_reported_of_ten_times_a_second_and_what_is_merged_is_not_lost(live_environment):
    def loop(task_id: UUID) -> tuple[str, float]:
        for turn in range(150):
            reprioritize(task_id, priority=1 + turn % 20, actor="user:test")
        return str(spawn_note().task_id), time.monotonic()

    noisy = await in_thread(spawn_note)()
    heard: list[tuple[float, dict[str, Any]]] = []
    with serving(live_environment) as port:
        async with socket(port, "types=task_update") as client:
            await client.next()
            looping = asyncio.create_task(in_thread(loop)(noisy.task_id))
            while not looping.done() or looping.result()[0] not in {each["task_id"] for _, each in heard}:
                message = await client.next()
                heard.append((time.monotonic(), message))
    of_noisy = [(at, each) for at, each in heard if each["task_id"] == str(noisy.task_id)]
    for at, _ in of_noisy:
        assert sum(at <= other < at + 0.9 for other, _ in of_noisy) <= 10
    assert len(of_noisy) < 150
    assert of_noisy[-1][1]["update"] == {"status": "pending", "priority": 1 + 149 % 20}
    numbers = [each["event_id"] for _, each in heard]
    assert numbers == sorted(numbers)


async def test_a_task_with_many_updates_does_not_hold_up_the_messages_of_another():
    def spawn_after_many_updates(task_id: UUID) -> UUID:
        with transaction.atomic():  # all become visible at once
            for turn in range(150):
                reprioritize(task_id, priority=1 + turn % 20, actor="user:test")
            return spawn_note().task_id

    noisy = await in_thread(spawn_note)()
    async with listening("types=task_update") as listener:
        other = await in_thread(spawn_after_many_updates)(noisy.task_id)
        heard = [await listener.next()]
        while heard[-1]["task_id"] != str(other):
            heard.append(await listener.next())
    of_noisy = heard[:-1]
    assert 1 <= len(of_noisy) <= 10
    assert of_noisy[-1]["update"] == {"status": "pending", "priority": 1 + 149 % 20}


async def test_changes_of_status_are_all_reported_however_many_there_are(live_environment):
    def loop() -> None:
        worker = make_worker()
        for _ in range(8):
            fail_attempt(claim_one(worker), "drained", "the worker stops", REPORT)

    task = await in_thread(spawn_note)()
    with serving(live_environment) as port:
        async with socket(port, "types=task_update") as client:
            await client.next()
            await in_thread(loop)()
            statuses = [(await client.next())["update"]["status"] for _ in range(16)]
    assert statuses == ["claimed", "pending"] * 8
    assert task.task_id


async def test_counts_are_reported_of_at_once_and_then_four_times_a_second():
    async with listening("types=queue_stats_update") as listener:
        started = time.monotonic()
        for _ in range(20):
            await in_thread(spawn_note)()
        took_sec = time.monotonic() - started
        heard = 0
        while not await listener.communicator.receive_nothing(0.4, 0.02):
            assert (await listener.next())["type"] == "queue_stats_update"
            heard += 1
        # Changes read at once are reported once.
        assert 1 <= heard <= 2 + took_sec / 0.25


async def test_a_ping_is_answered_with_the_number_up_to_which_all_was_sent(live_environment):
    run = await in_thread(Run.objects.create)(workflow="standard-pipeline")
    with serving(live_environment) as port:
        async with socket(port, f"run={run.run_id}") as client:
            hello = await client.next()
            await client.socket.send(json.dumps({"type": "ping"}))
            assert await client.next() == {"type": "pong", "event_id": hello["event_id"]}
            await in_thread(spawn_note)()
            last = await in_thread(lambda: TaskEvent.objects.latest("id").pk)()
            async with asyncio.timeout(60):
                while True:
                    await client.socket.send(json.dumps({"type": "ping"}))
                    if (await client.next())["event_id"] == last:
                        break
            for nonsense in ("", "ping", "[]", '{"type": 7}', "{" * 5_000, b"\x00\xff"):
                await client.socket.send(nonsense)
            await client.socket.send(json.dumps({"type": "ping"}))
            assert (await client.next())["type"] == "pong"
