"""A real CASA stage: by a plain script, by a worker from a cold start, and by a worker with a warm spare.

What it costs to be run by a worker is the processor time of the worker and of the guardians beside the stage's own, and
the wall time of an attempt beside the script's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from absurd_project.benchmark import load
from absurd_project.benchmark.measures import Figures, Progress, Sizes
from absurd_project.benchmark.scratch import DoesNotStart, Scratch, workers
from absurd_project.local.locations import CHECKOUT
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.models import Attempt, Task

QUEUE = "benchmark-stage"
TASK_NAME = "convert-uvh5-to-ms"
PLAIN_SCRIPT, COLD, WARM = "plain script", "worker, cold", "worker, warm"
WARM_SEC = 20.0
"""So long a worker is given to import CASA into its spare."""
LIMIT_SEC = 300.0

SIMULATE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline_app.simulation import DEMO, tile_pair, simulate_tile
print("\\n".join(simulate_tile(Path(sys.argv[1]), tile_pair(datetime(2026, 11, 24, 2, tzinfo=UTC), DEMO)[0]).files))
"""
PLAIN = """
import sys
from pathlib import Path
from pipeline_app.casa import convert
from pipeline_app.stages.convert import ConvertParams
from tasks_app.engine.handler import DirectoryContext
place = Path(sys.argv[1])
context = DirectoryContext(
    attempt_dir=place, published_dir=place / "published", task_id="plain", attempt=1, task_name="plain", data_roots=[]
)
for directory in (context.products_dir, context.scratch_dir):
    directory.mkdir(parents=True)
convert.run(ConvertParams(paths=sys.argv[2:]), context)
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of one way to run the stage several times: of each run the wall time, of all the processor time."""

    walls_sec: list[float]
    stage_cpu_sec: float
    worker_cpu_sec: float = 0.0
    guardians_cpu_sec: float = 0.0

    @property
    def wall_sec(self) -> float:
        """The median."""
        return statistics.median(self.walls_sec)


def measure(scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> dict[str, Cost]:
    """Run the stage in each way, several times; return what each cost."""
    data = scratch.directory / "data"
    settings.ABSURD_DATA_ROOTS = (data,)
    with progress.part("a CASA stage", 1 + 3 * sizes.stage_runs) as step:
        paths = _simulate(data / "raw", scratch)
        step()
        costs = {PLAIN_SCRIPT: _plain(paths, scratch, sizes.stage_runs, step)}
        for name, options in ((COLD, ("--no-warm",)), (WARM, ())):
            costs[name] = _by_worker(paths, scratch, sizes.stage_runs, step, options)
    cold, warm, plain = costs[COLD], costs[WARM], costs[PLAIN_SCRIPT]
    figures.others["stage_wall_vs_script"] = cold.wall_sec / plain.wall_sec
    figures.others["stage_warm_vs_cold"] = warm.wall_sec / cold.wall_sec
    figures.others["stage_overhead_cpu"] = (cold.worker_cpu_sec + cold.guardians_cpu_sec) / cold.stage_cpu_sec
    return costs


def _simulate(directory: Path, scratch: Scratch) -> list[str]:
    done = _script(SIMULATE, [str(directory)], scratch)
    return [str(directory / name) for name in done.splitlines()]


def _plain(paths: list[str], scratch: Scratch, runs: int, step: Any) -> Cost:
    walls, before = [], psutil.Process().cpu_times()
    for number in range(runs):
        began = time.monotonic()
        _script(PLAIN, [str(scratch.directory / "data" / f"plain-{number}"), *paths], scratch)
        walls.append(time.monotonic() - began)
        step()
    after = psutil.Process().cpu_times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(walls_sec=walls, stage_cpu_sec=spent)


def _script(text: str, arguments: list[str], scratch: Scratch) -> str:
    """Run a script with the thread counts of an attempt. Raises DoesNotStart with its last line when it fails."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    environment = scratch.environment | one_thread | {"PYTHONPATH": str(CHECKOUT)}
    environment["ABSURD_CASA_DATA"] = str(settings.ABSURD_VAR / "casa-data")
    environment["NUMBA_CACHE_DIR"] = str(scratch.directory / "cache" / "numba")
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        cwd=scratch.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SEC,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise DoesNotStart(f"the stage failed in a plain script: {last[0]}")
    return done.stdout


def _by_worker(paths: list[str], scratch: Scratch, runs: int, step: Any, options: tuple[str, ...]) -> Cost:
    done: list[Task] = []
    with workers(scratch, QUEUE, count=1, concurrency=1, options=options) as (started,), _watched(started) as spent:
        for _ in range(runs):
            if not options:
                time.sleep(WARM_SEC)
            task = spawn(TaskOptions(task_name=TASK_NAME, params={"paths": paths}, queue_name=QUEUE), actor=load.ACTOR)
            _wait_for(task)
            done.append(task)
            step()
    attempts = list(Attempt.objects.filter(task_id__in=[task.task_id for task in done]))
    stage_cpu_sec = sum(attempt.cpu_sec or 0.0 for attempt in attempts)
    return Cost(
        walls_sec=[attempt.wall_sec or 0.0 for attempt in attempts],
        stage_cpu_sec=stage_cpu_sec,
        worker_cpu_sec=spent["own"],
        guardians_cpu_sec=max(0.0, spent["children"] - stage_cpu_sec),
    )


def _wait_for(task: Task) -> None:
    deadline = time.monotonic() + LIMIT_SEC
    while not task.is_finished:
        if time.monotonic() > deadline:
            raise DoesNotStart(f"the stage did not end within {LIMIT_SEC:.0f} s")
        time.sleep(0.1)
        task.refresh_from_db()
    if task.status != "completed":
        raise DoesNotStart(f"the stage failed in a worker: {task.error}")


@contextmanager
def _watched(started: subprocess.Popen[bytes]) -> Iterator[dict[str, float]]:
    """Yield where, at the end of the block, the processor time of the worker and of its ended children is."""
    process = _runworker(started.pid)
    spent = {"own": 0.0, "children": 0.0}
    before = process.cpu_times()
    yield spent
    time.sleep(1.0)  # the last guardian is still clearing away
    after = process.cpu_times()
    spent["own"] = after.user + after.system - before.user - before.system
    spent["children"] = after.children_user + after.children_system - before.children_user - before.children_system


def _runworker(pid: int) -> psutil.Process:
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        if "runworker" in process.cmdline():
            return process
    raise DoesNotStart("the worker is not to be found")
