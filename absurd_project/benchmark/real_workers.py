"""Real workers on tasks that do nothing: how many a second, and how much memory a worker takes."""

from __future__ import annotations

import time
from datetime import datetime

from absurd_project.benchmark import noop, tables
from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.processes import memory_mb, workers
from absurd_project.benchmark.scratch import Scratch
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import Task, TaskStatus

QUEUE = "benchmark-workers"
CONCURRENCY = 10
PROCESSES = (1, 4)
WARM_SHARE, END_SHARE = 0.3, 0.95
"""Rates are taken between these: before, workers are still starting; after, some have nothing left."""

LOOK_SEC = 0.2
SPAWNED_AT_ONCE = 5_000


def rate_name(contender: str, processes: int) -> str:
    """Return how the rate of real workers is called."""
    return f"worker_x{processes}_{contender}"


def measure_round(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Measure one round with one worker and with several."""
    with progress.part("real workers", len(PROCESSES)) as step:
        for processes in PROCESSES:
            rate, memory = _drain(scratch, sizes, processes)
            figures.add_rate(rate_name("ours", processes), rate)
            figures.add_memory("ours", memory)
            step()


def _drain(scratch: Scratch, sizes: Sizes, processes: int) -> tuple[float, float]:
    """Return tasks per second, from the first few to the last few, and the memory of a worker."""
    tables.truncate()
    _spawn(sizes.worker_tasks)
    with workers(scratch, QUEUE, count=processes, concurrency=CONCURRENCY) as started:
        began = time.monotonic()
        while (left := Task.objects.in_queue(QUEUE).filter(completed_at=None).count()) > 0:
            if time.monotonic() - began > sizes.worker_sec:
                break
            time.sleep(LOOK_SEC)
        memory = memory_mb(started, scratch.directory / "worker-0.log")
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


def _spawn(count: int) -> None:
    for done in range(0, count, SPAWNED_AT_ONCE):
        some = min(SPAWNED_AT_ONCE, count - done)
        spawn_many([TaskOptions(task_name=noop.IN_THREAD, queue_name=QUEUE)] * some, actor=noop.ACTOR)
