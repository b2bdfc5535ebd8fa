"""Real workers on tasks that do nothing: how many a second, how long until an idle one starts, and its memory."""

from __future__ import annotations

import random
import time
from datetime import datetime
from uuid import UUID

from absurd_project.benchmark import load
from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.scratch import Scratch, memory_mb, workers
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn, spawn_many
from tasks_app.models import Attempt, Task, TaskStatus
from tasks_app.postgresql import clock

QUEUE = "benchmark-workers"
CONCURRENCY = 10
WORKERS = (1, 4)
WARM_SHARE, END_SHARE = 0.3, 0.95
"""Rates are taken between these: before, workers are still starting; after, some have nothing left."""

LOOK_SEC = 0.2
SPAWNED_AT_ONCE = 5_000
PICKUP_QUEUE = "benchmark-pickup"
PAUSE_SEC = (0.05, 0.25)
FINISH_SEC = 30.0


def rate_name(contender: str, processes: int) -> str:
    """Return how the rate of real workers is called."""
    return f"worker_x{processes}_{contender}"


def measure_round(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure one round with one worker and with several."""
    with progress.part("real workers", len(WORKERS)) as step:
        for processes in WORKERS:
            rate, memory = _drain(scratch, sizes, processes)
            figures.add_rate(rate_name("ours", processes), rate)
            figures.add_memory("ours", memory)
            step()


def _drain(scratch: Scratch, sizes: Sizes, processes: int) -> tuple[float, float]:
    """Return tasks per second, from the first few to the last few, and the memory of a worker."""
    load.truncate()
    spawn_tasks(sizes.worker_tasks)
    with workers(scratch, QUEUE, count=processes, concurrency=CONCURRENCY) as started:
        began = time.monotonic()
        while (left := Task.objects.in_queue(QUEUE).filter(completed_at=None).count()) > 0:
            if time.monotonic() - began > sizes.worker_sec:
                break
            time.sleep(LOOK_SEC)
        memory = memory_mb(started)
    ended = list(
        Task.objects.in_queue(QUEUE)
        .filter(status=TaskStatus.COMPLETED)
        .order_by("completed_at")
        .values_list("completed_at")
    )
    return slope([moment for (moment,) in ended], whole=left == 0), memory


def slope(ended: list[datetime], *, whole: bool) -> float:
    """Return how many ended a second, leaving out the beginning and, when all were done, the end."""
    first = int(len(ended) * WARM_SHARE)
    last = int(len(ended) * END_SHARE) if whole else len(ended) - 1
    if last <= first:
        return 0.0
    return (last - first) / max((ended[last] - ended[first]).total_seconds(), 1e-3)


def spawn_tasks(count: int) -> None:
    """Spawn tasks that do nothing."""
    for done in range(0, count, SPAWNED_AT_ONCE):
        some = min(SPAWNED_AT_ONCE, count - done)
        spawn_many([TaskOptions(task_name=load.IN_THREAD, queue_name=QUEUE)] * some, actor=load.ACTOR)


def measure_pickup(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure, with one idle worker, the time from before `spawn` is called until the attempt starts, by one clock."""
    spawned: dict[UUID, datetime] = {}
    with (
        workers(scratch, PICKUP_QUEUE, count=1, concurrency=CONCURRENCY),
        progress.part("pickup", sizes.pickups) as step,
    ):
        for _ in range(sizes.pickups):
            time.sleep(random.uniform(*PAUSE_SEC))  # noqa: S311 - not a secret
            before = clock.now()
            task = spawn(TaskOptions(task_name=load.IN_THREAD, queue_name=PICKUP_QUEUE), actor=load.ACTOR)
            spawned[task.task_id] = before
            step()
        _wait_until_finished()
    started = dict(Attempt.objects.filter(task_id__in=spawned, number=1).values_list("task_id", "started_at"))
    delays_ms = [(started[task_id] - before).total_seconds() * 1000 for task_id, before in spawned.items()]
    figures.add_distribution("pickup", delays_ms)


def _wait_until_finished() -> None:
    deadline = time.monotonic() + FINISH_SEC
    unfinished = Task.objects.in_queue(PICKUP_QUEUE).filter(status__in=(TaskStatus.PENDING, TaskStatus.CLAIMED))
    while unfinished.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker has left tasks of {PICKUP_QUEUE} unfinished for {FINISH_SEC:.0f} s")
        time.sleep(0.05)
