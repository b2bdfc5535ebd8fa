"""An hour of tiles, unattended: a private system in a process and a directory of its own, and what it left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from absurd_project.benchmark.pipeline import TILE_SEC
from absurd_project.local import down
from workers.process import environment

STOP_SEC = 60.0


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


def measure(size: str, n_targets: int, say: Callable[[str], None]) -> HourResult:
    """Process a calibrator's tile and some targets in a system of their own, and remove everything.

    Raises HourFailed.
    """
    with _private_state() as (directory, own):
        result_path = directory / "result.json"
        module = "absurd_project.benchmark.hour_system"
        _run([sys.executable, "-m", module, size, str(n_targets), str(result_path)], own, say)
        found = json.loads(result_path.read_text(encoding="utf-8"))
        stages = [StageFigures(**stage) for stage in found.pop("stages")]
        result = HourResult(stages=stages, **found)
        down.take_down(directory / "var")
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
        if any((own_var / name).exists() for name in down.SIGNS_OF_A_STATE_DIRECTORY):
            down.purge(own_var)
        shutil.rmtree(directory, ignore_errors=True)


def _run(command: list[str], own: dict[str, str], say: Callable[[str], None]) -> None:
    """Run the hour, saying each line that it writes. Raises HourFailed with its last complaint."""
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command, cwd=environment.CHECKOUT, env=own, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                say(line.rstrip())
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
