"""From a commit to the browser: what a WebSocket client of a real web process waits for each event."""

from __future__ import annotations

import asyncio
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import websockets
from django.db import connection, transaction

from absurd_project.benchmark import noop
from absurd_project.benchmark.measures import Figures, Progress, Sizes, Step
from absurd_project.benchmark.processes import web
from absurd_project.benchmark.scratch import Scratch
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn

PAUSE_SEC = (0.02, 0.1)
LONGEST_SEC = 10.0


def measure(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Spawn tasks one at a time and time when each is heard."""
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
                heard_at = await asyncio.wait_for(_hear(client), LONGEST_SEC)
                delays_ms.append(max(0.0, heard_at - await committed) * 1000)
                step()
        await asyncio.get_running_loop().run_in_executor(spawner, lambda: connection.close())
    return delays_ms


async def _hear(client: websockets.ClientConnection) -> float:
    """Return when the next change of a task was heard; what is said of the queue's counts is no event."""
    while True:
        message = json.loads(await client.recv())
        if message["type"] == "task_update":
            return time.monotonic()


def _spawn() -> float:
    """Spawn a task and return when its commit was done."""
    committed: list[float] = []
    with transaction.atomic():
        # The first to be called after the commit, before what spawning itself wants called.
        transaction.on_commit(lambda: committed.append(time.monotonic()))
        spawn(TaskOptions(task_name=noop.NAME, params=noop.PARAMS, queue_name=noop.QUEUE), actor=noop.ACTOR)
    return committed[0]
