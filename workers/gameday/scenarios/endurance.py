"""Many tasks: random kills for a while, and what a worker weighs after thousands."""

from __future__ import annotations

import contextlib
import random
import time
from datetime import datetime

import psutil

from tasks_app.models import Attempt, Task
from tasks_app.postgresql import clock
from workers.gameday import polling
from workers.gameday.drill import Drill, scenario
from workers.gameday.processes import WorkerProcess
from workers.gameday.report import MEMORY_KEPT

TASKS, KILLING_SEC = 5000, 120
"""Tasks, and seconds in which they arrive and something is killed each second."""
WORKERS = 2
ONE_IN = 10
"""One of this number of tasks runs in a process of its own and writes a product."""
WEIGHED = 1000
"""A worker's memory is measured after this number of tasks, and again after MORE times as many."""
MORE = 10
LONG_SEC = 300.0


@scenario("random-kills", endurance=True)
def random_kills(drill: Drill) -> None:
    """Short tasks while a worker or a child is killed every second."""
    seed = random.randrange(10**6)  # noqa: S311 - chance, not a secret
    drill.report.notes.append(f"{TASKS} tasks in {KILLING_SEC} s, seed {seed}")
    chance = random.Random(seed)  # noqa: S311
    drill.processes.start_web()
    workers = drill.processes.start_all_ready(WORKERS, "--concurrency", "8")
    killed: dict[str, datetime] = {}
    children = 0
    for tick in range(KILLING_SEC):
        began = time.monotonic()
        _spawn_some(drill, TASKS * (tick + 1) // KILLING_SEC - TASKS * tick // KILLING_SEC)
        if chance.random() < 0.5:
            victim = chance.randrange(WORKERS)
            if workers[victim].alive:
                killed[workers[victim].label] = workers[victim].kill()
                workers[victim] = drill.processes.start("--concurrency", "8")
        else:
            children += _kill_a_child(workers, chance)
        time.sleep(1.0 - (time.monotonic() - began))
    drill.report.notes.append(f"{len(killed)} workers and {children} children were killed")
    polling.all_finished(drill.task_ids, LONG_SEC)
    slowest = _slowest_recovery(drill, killed)
    drill.report.recovered(
        "every lost task was returned to the queue after its worker's death", slowest, drill.recovery_bound_sec
    )
    quarantined = Task.objects.filter(task_id__in=drill.task_ids).exclude(quarantined_at=None).count()
    drill.report.notes.append(f"{quarantined} tasks met three kills and are quarantined")
    drill.expect("workers and children were killed", bool(killed) and children > 0, (len(killed), children))


def _spawn_some(drill: Drill, count: int) -> None:
    processes = count // ONE_IN
    drill.spawn_many("echo", [{"outputs": {"a.fits": "x"}, "then_sleep_sec": 0.2}] * processes)
    drill.spawn_many("thread-sleep", [{"seconds": 0.1, "steps": 1}] * (count - processes))


def _kill_a_child(workers: list[WorkerProcess], chance: random.Random) -> int:
    """Kill one of the children that run now; return the number killed."""
    children: list[psutil.Process] = []
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            children += filter(polling.is_child, psutil.Process(worker.popen.pid).children(recursive=True))
    if children:
        with contextlib.suppress(psutil.Error):
            chance.choice(children).kill()
            return 1
    return 0


def _slowest_recovery(drill: Drill, killed: dict[str, datetime]) -> float:
    lost = Attempt.objects.filter(task_id__in=drill.task_ids, outcome="lost", worker__label__in=killed)
    waits = [
        (ended_at - killed[label]).total_seconds()
        for label, ended_at in lost.values_list("worker__label", "ended_at")
        if label and ended_at
    ]
    return max(waits, default=0.0)


@scenario("bookkeeping", endurance=True)
def bookkeeping(drill: Drill) -> None:
    """A worker's memory after thousands of tasks in its threads."""
    worker = drill.processes.start_ready()
    process = psutil.Process(worker.popen.pid)
    weights = []
    began = clock.now()
    for count in (WEIGHED, (MORE - 1) * WEIGHED):
        drill.spawn_many("noop", [{}] * count)
        polling.all_finished(drill.task_ids, LONG_SEC)
        weights.append(process.memory_info().rss)
    rate = MORE * WEIGHED / polling.since(began)
    before, after = weights
    drill.report.notes.append(f"{MORE * WEIGHED} tasks, {rate:.0f} a second, {after / 1e6:.1f} MB")
    what = f"after {MORE * WEIGHED} tasks at most {MEMORY_KEPT - 1:.0%} more memory than after {WEIGHED}"
    drill.expect(what, after <= MEMORY_KEPT * before, f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB")
