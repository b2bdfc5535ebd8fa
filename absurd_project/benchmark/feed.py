"""From a commit to the browser: how long WebSocket clients of a real web process wait, and whether all events come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import websockets
from django.db import connection, transaction

from absurd_project.benchmark import load
from absurd_project.benchmark.feed_clients import Received
from absurd_project.benchmark.measures import Figures, Progress, Sizes, Step
from absurd_project.benchmark.scratch import DoesNotStart, Scratch, web
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn, spawn_many
from tasks_app.models import TaskEvent
from workers.gameday.processes import end_with_parent
from workers.process.environment import CHECKOUT

PAUSE_SEC = (0.02, 0.1)
LONGEST_SEC = 10.0
EVENTS_PER_SEC = 20
FLOOD_CALL = 100
RECEIVE_SEC = 90
REQUEST = TaskOptions(task_name=load.NAME, params=load.PARAMS, queue_name=load.QUEUE)


def measure_one_client(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Spawn tasks one at a time and time when a WebSocket client has the message of each."""
    with web(scratch) as port, progress.part("feed", sizes.feed_events) as step:
        delays_ms = asyncio.run(_listen(port, sizes.feed_events, step))
    figures.add_distribution("feed", delays_ms)


async def _listen(port: int, count: int, step: Step) -> list[float]:
    delays_ms: list[float] = []
    with ThreadPoolExecutor(1) as spawner:
        async with websockets.connect(f"ws://127.0.0.1:{port}/ws/status") as client:
            await client.recv()  # hello
            for _ in range(count):
                await asyncio.sleep(random.uniform(*PAUSE_SEC))  # noqa: S311 - not a secret
                committed = asyncio.get_running_loop().run_in_executor(spawner, _spawn)
                async with asyncio.timeout(LONGEST_SEC):
                    received_at = await _next_update(client)
                delays_ms.append(max(0.0, received_at - await committed) * 1000)
                step()
        await asyncio.get_running_loop().run_in_executor(spawner, lambda: connection.close())
    return delays_ms


async def _next_update(client: websockets.ClientConnection) -> float:
    """Return when the next change of a task arrived; counts of the queue are not events."""
    while True:
        message = json.loads(await client.recv())
        if message["type"] == "task_update":
            return time.monotonic()


def measure_many_clients(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Send many clients single events at a steady rate, then many events at once."""
    with web(scratch) as port:
        with progress.part("feed, many clients", sizes.fanout_events) as step:
            figures.add_distribution("feed_fanout", steady(scratch, port, sizes, step))
        with progress.part("feed, many events", sizes.flood_events) as step:
            _flood(scratch, port, sizes, figures, step)


def steady(scratch: Scratch, port: int, sizes: Sizes, step: Step) -> list[float]:
    """Return, in ms, what each client waited for each event after its commit."""
    committed: list[float] = []
    with _connected(scratch, port, sizes.fanout_clients, sizes.fanout_events) as output:
        due = time.monotonic()
        for _ in range(sizes.fanout_events):
            due += 1 / EVENTS_PER_SEC
            time.sleep(max(0.0, due - time.monotonic()))
            committed.append(_spawn())
            step()
        received = _received(output)
    return [
        max(0.0, moment - since) * 1000
        for each in received
        for since, moment in zip(committed, each.moments, strict=False)
    ]


def _flood(scratch: Scratch, port: int, sizes: Sizes, figures: Figures, step: Step) -> None:
    before = _numbers(0)[-1:] or [0]
    with _connected(scratch, port, sizes.flood_clients, sizes.flood_events) as output:
        began = time.monotonic()
        for _ in range(0, sizes.flood_events, FLOOD_CALL):
            count = min(FLOOD_CALL, sizes.flood_events)
            spawn_many([REQUEST] * count, actor=load.ACTOR)
            for _ in range(count):
                step()
        received = _received(output)
    wanted = _numbers(before[0])
    complete = sum(each.numbers == wanted and not each.left_out for each in received)
    took_sec = max((each.moments[-1] for each in received if each.moments), default=began) - began
    figures.others["feed_flood_complete"] = complete / sizes.flood_clients
    figures.notes.append(
        f"feed: {complete} of {sizes.flood_clients} clients received all of {len(wanted)} events in order "
        f"in {took_sec:.1f} s, {len(received) * len(wanted) / took_sec if took_sec else 0:,.0f} messages/s"
    )


@contextlib.contextmanager
def _connected(scratch: Scratch, port: int, clients: int, events: int) -> Iterator[IO[str]]:
    """Yield the output of clients that are all connected. Raises DoesNotStart."""
    arguments = [str(number) for number in (port, clients, events, RECEIVE_SEC)]
    process = subprocess.Popen(
        [sys.executable, "-m", "absurd_project.benchmark.feed_clients", *arguments],
        cwd=CHECKOUT,
        env=scratch.environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    )
    output = process.stdout or sys.stdin
    try:
        if output.readline() != "ready\n":
            raise DoesNotStart("the clients of the feed do not connect; their error is above")
        yield output
    finally:
        process.kill()
        process.communicate()


def _received(output: IO[str]) -> list[Received]:
    """Wait until the clients have received enough, or their time is over."""
    return [Received(**each) for each in json.loads(output.readline())]


def _numbers(after: int) -> Sequence[int]:
    return list(
        TaskEvent.objects.filter(id__gt=after).exclude(to_status="").order_by("id").values_list("id", flat=True)
    )


def _spawn() -> float:
    """Spawn a task and return when its commit was done."""
    committed: list[float] = []
    with transaction.atomic():
        # The first to be called after the commit, before what spawning itself wants called.
        transaction.on_commit(lambda: committed.append(time.monotonic()))
        spawn(REQUEST, actor=load.ACTOR)
    return committed[0]
