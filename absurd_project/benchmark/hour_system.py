"""An hour of tiles through a running system of its own: ingest, queue, workers, judged against the truth.

``python -m absurd_project.benchmark.hour_system SIZE TARGETS RESULT`` with ABSURD_VAR in the environment, a new
directory that the caller removes. Lines of progress go to standard output, the result as JSON to the file RESULT.
"""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import django
from django.conf import settings
from django.core.management.base import OutputWrapper
from django.utils import timezone

django.setup()

from absurd_project.benchmark.hour import HourFailed, HourResult, StageFigures  # noqa: E402
from absurd_project.demo.system import System, SystemDoesNotStart, running_system  # noqa: E402
from absurd_project.demo.tiles import DemoTile, deliver, simulate  # noqa: E402
from absurd_project.demo.verdict import NothingToJudge, image_of, measurements_of  # noqa: E402
from absurd_project.local import servers  # noqa: E402
from absurd_project.processing.serving import NotReady, make_ready  # noqa: E402
from pipeline_app.models import Observation, ObservationState, Product  # noqa: E402
from pipeline_app.registration import PHOTOMETRY  # noqa: E402
from pipeline_app.simulation.judgement import judge_fluxes  # noqa: E402
from pipeline_app.simulation.presets import SIZES, TileSize, hour_tiles, processing_for  # noqa: E402
from pipeline_app.simulation.spec import TileSpec  # noqa: E402
from tasks_app.models import Attempt, Task  # noqa: E402
from tasks_app.models.task import FINISHED  # noqa: E402
from workers.process.publication import ATTEMPTS  # noqa: E402

POLL_SEC = 0.5
SPARE_BYTES = 5_000_000_000
"""Left free on the disk."""
BYTES_PER_VISIBILITY = 26
"""Of a raw file: complex values, flags and sample counts of two hands."""
PRODUCTS_OVER_RAW = 0.5
"""Of the products of a target's tile over its raw files; those of a calibrator's are larger by the raw files."""


def play(size: TileSize, n_targets: int) -> HourResult:
    """Simulate, deliver and process an hour. Raises HourFailed."""
    var = Path(settings.ABSURD_VAR)
    specs = hour_tiles(timezone.now(), size, n_targets=n_targets)
    batches = _batches(specs, size, shutil.disk_usage(var).free)
    result = HourResult(n_tiles=len(specs), n_batches=len(batches))
    first = _simulate(batches[0], var, result)
    with running_system(var, settings.ABSURD_PORT) as system:
        for number, batch in enumerate(batches):
            tiles = first if number == 0 else _simulate(batch, var, result)
            _process(system, tiles, size, result)
    _summarise(result)
    _look_for_leftovers(result)
    return result


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


def _simulate(specs: Sequence[TileSpec], var: Path, result: HourResult) -> list[DemoTile]:
    began = time.monotonic()
    _say(f"simulating {len(specs)} tiles")
    tiles = simulate(specs, var / "simulated")
    result.simulate_sec += time.monotonic() - began
    return tiles


def _process(system: System, tiles: Sequence[DemoTile], size: TileSize, result: HourResult) -> None:
    """Deliver tiles and wait until every task of their runs has ended, then remove the raw files."""

    began = time.monotonic()
    places = [deliver(tile, system.incoming, processing=processing_for(size), with_fluxes=True) for tile in tiles]
    names = [tile.name for tile in tiles]
    said = -1
    while True:
        system.poll()
        started = Observation.objects.filter(name__in=names, run_id__isnull=False).values("run_id")
        tasks = list(Task.objects.filter(run__run_id__in=started).values_list("status", flat=True))
        ended = sum(status in FINISHED for status in tasks)
        if ended != said:
            said = ended
            _say(f"{time.monotonic() - began:6.0f} s: {len(started)} of {len(tiles)} tiles, {ended} tasks ended")
        if len(started) == len(tiles) and ended == len(tasks):
            break
        if _waits_in_vain(names):
            raise HourFailed(f"the system does not finish: {_waits_in_vain(names)}")
        time.sleep(POLL_SEC)
    result.wall_sec += time.monotonic() - began
    for tile, place in zip(tiles, places, strict=True):
        _judge(tile, result)
        shutil.rmtree(place)


def _waits_in_vain(names: Sequence[str]) -> str:
    """Return why the tiles will not be finished, or nothing."""

    incomplete = Observation.objects.filter(name__in=names, state=ObservationState.INCOMPLETE).first()
    if incomplete is not None:
        return f"{incomplete.name} is incomplete, {incomplete.reason}"
    failed = Task.objects.filter(run__label__in=names, status="failed").first()
    return f"{failed.task_name} failed: {failed.error}" if failed is not None else ""


def _judge(tile: DemoTile, result: HourResult) -> None:

    if tile.spec.kind == "calibrator":
        return
    tasks = list(Task.objects.filter(run__label=tile.name).select_related("run"))
    fluxes = judge_fluxes(
        measurements_of(tasks, tile), tile.truth.sources, beam_minor_arcsec=image_of(tasks, tile)["beam_minor_arcsec"]
    )
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


def _look_for_leftovers(result: HourResult) -> None:
    """Name attempt directories and published directories that no product refers to."""

    known = [Path(path) for path in Product.objects.values_list("path", flat=True)]
    referred = {parent for path in known for parent in (path, *path.parents)}
    for root in map(Path, settings.ABSURD_DATA_ROOTS):
        result.left_attempts += [str(path) for path in sorted((root / ATTEMPTS).glob("*"))]
        published = (path for path in sorted(root.glob("*/*")) if path.parent.name != ATTEMPTS)
        result.left_products += [str(path) for path in published if path not in referred]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(size: str, n_targets: str, result_path: str) -> int:
    """Play the hour; return the exit code."""
    # A terminated process stops its web, workers and ingest first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    servers.ensure()
    try:
        make_ready(OutputWrapper(sys.stderr))
        made = play(SIZES[size], int(n_targets))
    except (HourFailed, NotReady, SystemDoesNotStart, NothingToJudge) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    except KeyboardInterrupt:
        return 1
    Path(result_path).write_text(json.dumps(asdict(made)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
