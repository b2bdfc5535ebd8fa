"""An hour of tiles, unattended: a private system in a directory of its own, its speed, and what it left behind.

`measure` starts this command a second time (`--hour --in-place RESULT`) in the environment of the private system;
`process_hour` is what that one does: simulate, deliver, wait, judge.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import OutputWrapper
from django.utils import timezone

from absurd_project.benchmark.pipeline import TILE_SEC
from absurd_project.demo import DemoTile, NothingToJudge, deliver, judge_tile, simulate
from absurd_project.local import state
from absurd_project.processing.serving import NotServed, System, make_ready, running_system
from pipeline_app.models import Observation, ObservationState, Product
from pipeline_app.registration import PHOTOMETRY
from pipeline_app.simulation.presets import TileSize, hour_tiles, processing_for
from pipeline_app.simulation.spec import TileSpec
from tasks_app.models import Attempt, Task
from tasks_app.models.task import FINISHED
from workers.process import environment
from workers.process.publication import ATTEMPTS

STOP_SEC = 60.0
POLL_SEC = 0.5
SPARE_BYTES = 5_000_000_000
"""Left free on the disk."""
BYTES_PER_VISIBILITY = 26
"""Of a raw file: complex values, flags and sample counts of two hands."""
PRODUCTS_OVER_RAW = 0.5
"""Of the products of a target's tile over its raw files; those of a calibrator's are larger by the raw files."""

Print = Callable[[str], None]


class HourFailed(Exception):
    """The hour was not processed to its end; the message says why."""


@dataclass(kw_only=True)
class StageFigures:
    """The attempts of one stage."""

    tile: str
    stage: str
    n: int
    wall_sec_median: float
    wall_sec_max: float
    cpu_sec_median: float | None
    peak_rss_bytes_max: int | None


@dataclass(kw_only=True)
class HourResult:
    """What the system made of the hour."""

    n_tiles: int
    n_batches: int
    simulate_sec: float = 0.0
    wall_sec: float = 0.0
    stages: list[StageFigures] = field(default_factory=list)
    n_tasks: int = 0
    n_failed_tasks: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    """Of the photometry of targets."""
    flux_ratio_medians: list[float] = field(default_factory=list)
    """By target: median of measured over injected flux, sources above 10 sigma."""
    fractions_within: list[float] = field(default_factory=list)
    offset_max_arcsec: float | None = None
    left_attempts: list[str] = field(default_factory=list)
    left_products: list[str] = field(default_factory=list)
    left_processes: list[str] = field(default_factory=list)

    @property
    def sec_per_tile(self) -> float:
        """Wall time from delivery to the last flux over the number of tiles."""
        return self.wall_sec / self.n_tiles

    @property
    def real_time_factor(self) -> float:
        """How many times faster than the sky: above 1 the system keeps up."""
        return TILE_SEC / self.sec_per_tile

    @property
    def clean(self) -> bool:
        """Whether nothing was left over."""
        return not (self.left_attempts or self.left_products or self.left_processes)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as `--json` writes it."""
        return asdict(self) | {
            "sec_per_tile": self.sec_per_tile,
            "real_time_factor": self.real_time_factor,
            "tile_duration_sec": TILE_SEC,
            "clean": self.clean,
            "cores": len(os.sched_getaffinity(0)),
        }


def measure(size: str, n_targets: int, show: Print) -> HourResult:
    """Process a calibrator's tile and some targets in a system of their own, and remove everything.

    Raises HourFailed.
    """
    with _private_state() as (directory, own):
        result_path = directory / "result.json"
        options = ["--hour", "--size", size, "--tiles", str(n_targets), "--in-place", str(result_path)]
        _run([sys.executable, "-m", "absurd_project", "absurd_benchmark", *options], own, show)
        found = json.loads(result_path.read_text(encoding="utf-8"))
        stages = [StageFigures(**stage) for stage in found.pop("stages")]
        result = HourResult(stages=stages, **found)
        state.take_down(directory / "var")
        result.left_processes = _processes_below(directory)
    return result


@contextmanager
def _private_state() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a new directory and the environment of a system whose state is below it; remove both at the end."""
    var = Path(settings.ABSURD_VAR)
    (var / "benchmark").mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="hour-", dir=var / "benchmark"))
    own_var = directory / "var"
    own_var.mkdir(mode=0o700)
    cache, casa_data = environment.shared(var)
    if cache.is_dir():
        shutil.copytree(cache, own_var / "cache")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PG"))}
    own = inherited | {
        "DJANGO_SETTINGS_MODULE": "absurd_project.settings",
        "ABSURD_MODE": "local",
        "ABSURD_ENABLED": "true",
        "ABSURD_VAR": str(own_var),
        "ABSURD_DATA_ROOTS": str(own_var / "data"),
        "ABSURD_CASA_DATA": str(casa_data),
    }
    try:
        yield directory, own
    finally:
        if any((own_var / name).exists() for name in state.SIGNS_OF_A_STATE_DIRECTORY):
            state.purge(own_var)
        shutil.rmtree(directory, ignore_errors=True)


def _run(command: list[str], own: dict[str, str], show: Print) -> None:
    """Run the hour, passing on each line that it writes. Raises HourFailed with its last complaint."""
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command, cwd=environment.CHECKOUT, env=own, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                show(line.rstrip())
        except BaseException:
            process.terminate()
            process.wait(STOP_SEC)
            raise
        if process.wait():
            complaints.seek(0)
            last = complaints.read().strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
            raise HourFailed(last[0])


def _processes_below(directory: Path) -> list[str]:
    """Return the processes of this user whose environment names a place in the directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(value.startswith(str(directory)) for value in process.environ().values()):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return found


def process_hour(size: TileSize, n_targets: int, result_path: Path, show: Print) -> None:
    """Simulate, deliver and process an hour in the system of this environment; write the result as JSON.

    Raises HourFailed.
    """
    var = Path(settings.ABSURD_VAR)
    specs = hour_tiles(timezone.now(), size, n_targets=n_targets)
    batches = _batches(specs, size, shutil.disk_usage(var).free)
    result = HourResult(n_tiles=len(specs), n_batches=len(batches))
    try:
        make_ready(OutputWrapper(sys.stderr))
        first = _simulate(batches[0], var, result, show)
        with running_system(var, settings.ABSURD_PORT) as system:
            for number, batch in enumerate(batches):
                tiles = first if number == 0 else _simulate(batch, var, result, show)
                _process(system, tiles, size, result, show)
    except (NotServed, NothingToJudge) as fault:
        raise HourFailed(str(fault)) from fault
    _summarise(result)
    _find_leftovers(result)
    result_path.write_text(json.dumps(asdict(result)))


def _batches(specs: Sequence[TileSpec], size: TileSize, free_bytes: int) -> list[list[TileSpec]]:
    """Split the hour into one or two batches, so that raw files and products fit the disk. Raises HourFailed."""
    n_baselines = size.n_antennas * (size.n_antennas + 1) // 2
    raw_bytes = n_baselines * size.n_times * size.channels_per_subband * 16 * BYTES_PER_VISIBILITY
    products_bytes = raw_bytes * (1 + PRODUCTS_OVER_RAW * len(specs))
    for parts in (1, 2):
        length = -(-len(specs) // parts)
        if length * raw_bytes + products_bytes + SPARE_BYTES <= free_bytes:
            return [list(specs[start : start + length]) for start in range(0, len(specs), length)]
    needed_gb = (-(-len(specs) // 2) * raw_bytes + products_bytes + SPARE_BYTES) / 1e9
    raise HourFailed(
        f"{len(specs)} tiles need {needed_gb:.0f} GB on the disk, {free_bytes / 1e9:.0f} GB are free:"
        " free some, name another directory in ABSURD_VAR, or ask for fewer with --tiles"
    )


def _simulate(specs: Sequence[TileSpec], var: Path, result: HourResult, show: Print) -> list[DemoTile]:
    began = time.monotonic()
    show(f"simulating {len(specs)} tiles")
    tiles = simulate(specs, var / "simulated")
    result.simulate_sec += time.monotonic() - began
    return tiles


def _process(system: System, tiles: Sequence[DemoTile], size: TileSize, result: HourResult, show: Print) -> None:
    """Deliver tiles and wait until every task of their runs has ended, then remove the raw files."""

    began = time.monotonic()
    places = [deliver(tile, system.incoming, processing=processing_for(size), with_fluxes=True) for tile in tiles]
    names = [tile.name for tile in tiles]
    shown = -1
    while True:
        system.poll()
        started = Observation.objects.filter(name__in=names, run_id__isnull=False).values("run_id")
        tasks = list(Task.objects.filter(run__run_id__in=started).values_list("status", flat=True))
        ended = sum(status in FINISHED for status in tasks)
        if ended != shown:
            shown = ended
            show(f"{time.monotonic() - began:6.0f} s: {len(started)} of {len(tiles)} tiles, {ended} tasks ended")
        if len(started) == len(tiles) and ended == len(tasks):
            break
        if why := _why_unfinished(names):
            raise HourFailed(f"the system does not finish: {why}")
        time.sleep(POLL_SEC)
    result.wall_sec += time.monotonic() - began
    for tile, place in zip(tiles, places, strict=True):
        _judge(tile, result)
        shutil.rmtree(place)


def _why_unfinished(names: Sequence[str]) -> str:
    """Return why the tiles will not be finished, or nothing."""
    incomplete = Observation.objects.filter(name__in=names, state=ObservationState.INCOMPLETE).first()
    if incomplete is not None:
        return f"{incomplete.name} is incomplete, {incomplete.reason}"
    failed = Task.objects.filter(run__label__in=names, status="failed").first()
    return f"{failed.task_name} failed: {failed.error}" if failed is not None else ""


def _judge(tile: DemoTile, result: HourResult) -> None:

    if tile.spec.kind == "calibrator":
        return
    fluxes = judge_tile(list(Task.objects.filter(run__label=tile.name).select_related("run")), tile)
    result.flux_ratio_medians.append(fluxes.ratio_median)
    result.fractions_within.append(fluxes.fraction_within)
    result.offset_max_arcsec = max(result.offset_max_arcsec or 0.0, fluxes.offset_max_arcsec)


def _summarise(result: HourResult) -> None:

    tasks = {task.task_id: task for task in Task.objects.select_related("run").order_by("id")}
    result.n_tasks = len(tasks)
    result.n_failed_tasks = sum(task.status != "completed" for task in tasks.values())
    attempts = defaultdict(list)
    for attempt in Attempt.objects.filter(task_id__in=tasks).order_by("task_id"):
        task = tasks[attempt.task_id]
        attempts[task.run.params["role"] if task.run else "", task.stage].append(attempt)
    for task in tasks.values():
        if task.stage == PHOTOMETRY and task.run is not None and task.run.params["role"] == "target":
            verdict = (task.result or {}).get("verdict") or "none"
            result.verdicts[verdict] = result.verdicts.get(verdict, 0) + 1
    for role in ("calibrator", "target"):
        seen = dict.fromkeys(task.stage for task in tasks.values() if (role, task.stage) in attempts)
        result.stages += [_figures(role, stage, attempts[role, stage]) for stage in seen]


def _figures(role: str, stage: str, attempts: Sequence[Attempt]) -> StageFigures:
    wall = [attempt.wall_sec for attempt in attempts if attempt.wall_sec is not None]
    cpu = [attempt.cpu_sec for attempt in attempts if attempt.cpu_sec is not None]
    memory = [attempt.peak_rss_bytes for attempt in attempts if attempt.peak_rss_bytes is not None]
    return StageFigures(
        tile=role,
        stage=stage,
        n=len(attempts),
        wall_sec_median=statistics.median(wall),
        wall_sec_max=max(wall),
        cpu_sec_median=statistics.median(cpu) if cpu else None,
        peak_rss_bytes_max=max(memory, default=None),
    )


def _find_leftovers(result: HourResult) -> None:
    """Name attempt directories and published directories that no product refers to."""

    known = [Path(path) for path in Product.objects.values_list("path", flat=True)]
    referred = {parent for path in known for parent in (path, *path.parents)}
    for root in map(Path, settings.ABSURD_DATA_ROOTS):
        result.left_attempts += [str(path) for path in sorted((root / ATTEMPTS).glob("*"))]
        published = (path for path in sorted(root.glob("*/*")) if path.parent.name != ATTEMPTS)
        result.left_products += [str(path) for path in published if path not in referred]
