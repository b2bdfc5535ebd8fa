"""From spawn to claim while a worker is idle: before `spawn` is called until the attempt starts, by one clock."""

from __future__ import annotations

import random
import time
from datetime import datetime
from uuid import UUID

from django.db import connection

from absurd_project.benchmark import noop
from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.processes import workers
from absurd_project.benchmark.scratch import Scratch
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.models import Attempt, Task, TaskStatus

QUEUE = "benchmark-pickup"
CONCURRENCY = 10
PAUSE_SEC = (0.05, 0.25)
FINISH_SEC = 30.0


def measure(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
    """Spawn at random moments, one task at a time, and learn afterwards when each was claimed."""
    spawned: dict[UUID, datetime] = {}
    with workers(scratch, QUEUE, count=1, concurrency=CONCURRENCY), progress.part("pickup", sizes.pickups) as step:
        for _ in range(sizes.pickups):
            time.sleep(random.uniform(*PAUSE_SEC))  # noqa: S311 - not a secret
            before = _database_time()
            task = spawn(TaskOptions(task_name=noop.IN_THREAD, queue_name=QUEUE), actor=noop.ACTOR)
            spawned[task.task_id] = before
            step()
        _wait_until_finished()
    started = dict(Attempt.objects.filter(task_id__in=spawned, number=1).values_list("task_id", "started_at"))
    delays_ms = [(started[task_id] - before).total_seconds() * 1000 for task_id, before in spawned.items()]
    figures.add_distribution("pickup", delays_ms)


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def _wait_until_finished() -> None:
    deadline = time.monotonic() + FINISH_SEC
    unfinished = Task.objects.in_queue(QUEUE).filter(status__in=(TaskStatus.PENDING, TaskStatus.CLAIMED))
    while unfinished.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker has left tasks of {QUEUE} unfinished for {FINISH_SEC:.0f} s")
        time.sleep(0.05)
