"""The stages of one calibrator tile and one target tile, alone on the machine: seconds, memory, and the truth.

The stages, their order and their params are those of the workflow; each runs in a process of its own, one after the
other. Plain calls of the libraries on the same files stand beside them: what cannot be saved by a better stage.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from pipeline_app.ingest.register import Tile
from pipeline_app.models import Observation
from pipeline_app.registration import CONVERT, IMAGING, SELF_CALIBRATION, SOLVE
from pipeline_app.simulation.detections import judge_detections
from pipeline_app.simulation.judgement import judge_fluxes, judge_gains
from pipeline_app.simulation.presets import SIZES, processing_for, tile_pair
from pipeline_app.simulation.tile import simulate_tile
from pipeline_app.simulation.truth import TileTruth
from pipeline_app.stages.photometry import Measurement, Position
from pipeline_app.workflows import Options, Plan, requests_of
from tasks_app.engine import registry
from tasks_app.engine.bindings import Binding
from tasks_app.engine.spawn import NewTask
from tasks_app.models import Run
from workers.process import environment

LIMIT_SEC = 3600.0
TILE_SEC = 309.2
"""What the sky takes for a tile."""

BARE_PYUVDATA = """
import sys, warnings
warnings.simplefilter("ignore")
import pipeline_app.casa
from pyuvdata import UVData
parts = []
for path in sys.argv[2:]:
    part = UVData()
    part.read(path, file_type="uvh5", run_check=False)
    part.uvw_array = part.uvw_array.astype(float)
    parts.append(part)
whole = parts[0]
whole.fast_concat(parts[1:], "freq", inplace=True, run_check=False)
whole.write_ms(sys.argv[1], force_phase=True, run_check=False)
"""
BARE_READ = """
import sys, h5py
for path in sys.argv[2:]:
    with h5py.File(path) as file:
        for name in ("visdata", "flags", "nsamples"):
            file["Data"][name][()]
"""


class StageFailed(Exception):
    """A stage or a plain call did not end well; the message has its last line."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one process cost."""

    tile: str
    stage: str
    wall_sec: float
    cpu_sec: float
    peak_rss_bytes: int
    import_sec: float = 0.0
    longest_silence_sec: float = 0.0
    verdict: str = ""


@dataclass(kw_only=True)
class PipelineReport:
    """All figures of one run."""

    size: str
    simulate_sec: float = 0.0
    costs: list[Cost] = field(default_factory=list)
    bare: list[Cost] = field(default_factory=list)
    accuracy: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def total_sec(self, tile: str) -> float:
        """Return the wall time of all stages of a tile, imports included once."""
        own = [cost for cost in self.costs if cost.tile == tile]
        return sum(cost.wall_sec for cost in own) + max((cost.import_sec for cost in own), default=0.0)

    def ratios(self, *, of_cpu: bool = False) -> dict[str, float]:
        """Return stages over plain calls of the same run, of wall time or, for a host that does more, of CPU time."""
        name = "cpu_sec" if of_cpu else "wall_sec"
        stages = {(cost.tile, cost.stage): getattr(cost, name) for cost in self.costs}
        bare = {cost.stage: getattr(cost, name) for cost in self.bare}
        wanted = {
            "convert_vs_pyuvdata": (("calibrator", CONVERT), "pyuvdata read and write"),
            "calibrate_target_vs_h5py_read": (("target", "calibrate-target"), "h5py read"),
            "imaging_vs_wsclean": (("target", IMAGING), "wsclean"),
        }
        return {
            name: stages[stage] / bare[call]
            for name, (stage, call) in wanted.items()
            if stage in stages and bare.get(call)
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `--json` writes it."""
        totals = {tile: self.total_sec(tile) for tile in ("calibrator", "target")}
        return asdict(self) | {
            "totals_sec": totals,
            "tile_duration_sec": TILE_SEC,
            "ratios": self.ratios(),
            "cpu_ratios": self.ratios(of_cpu=True),
            "cores": _host_cores(),
        }


def measure(size: str, show: Callable[[str], None]) -> PipelineReport:
    """Simulate a pair, run its stages one by one, judge the products, and remove everything.

    Raises StageFailed.
    """
    report = PipelineReport(size=size)
    with scratch() as directory:
        show(f"simulating two tiles of size {size}")
        began = time.monotonic()
        specs = tile_pair(timezone.now(), SIZES[size])
        truths = [simulate_tile(directory / spec.kind, spec) for spec in specs]
        report.simulate_sec = time.monotonic() - began
        calibrator, target = (tile_of(truth, directory / truth.kind) for truth in truths)
        plan = Plan.calibrator(calibrator)
        plans = (plan, Plan(tile=target, role="target", solve_task_id=plan.solve_task_id))
        params = processing_for(SIZES[size])
        requests = (one for p, truth in zip(plans, truths, strict=True) for one in stages_of(p, truth, params))
        results = run_requests(requests, directory, report.costs, show, {})
        _judge(truths, results, report)
        raw = {"calibrator": list(calibrator.paths), "target": list(target.paths)}
        _measure_bare(raw, results, directory, report, show)
    return report


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a directory below the state directory that is removed at the end."""
    place = Path(settings.ABSURD_VAR) / "benchmark"
    place.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="pipeline-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run_requests(
    requests: Iterable[tuple[str, NewTask]],
    directory: Path,
    costs: list[Cost],
    show: Callable[[str], None],
    by_task: dict[UUID, dict[str, Any]],
) -> dict[tuple[str, str], dict[str, Any]]:
    """Run stages as the workflow wires them; return their results by tile and stage.

    `by_task` has the results of earlier tasks, and gets those of these. Raises StageFailed.
    """
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, request in requests:
        spec = registry.get(request.options.task_name)
        params = dict(request.options.params)
        for name, binding in request.bindings.items():
            if isinstance(binding, Binding):
                params[name] = by_task[binding.task_id][binding.field]
        show(f"{kind}: {request.stage}")
        place = directory / f"{kind}-{request.stage}"
        measured = run_stage(spec.handler, params, place, cores=spec.cores)
        result = measured.pop("result")
        cost = Cost(tile=kind, stage=request.stage, verdict=result.get("verdict") or "", **measured)
        costs.append(cost)
        show(f"    {cost.wall_sec:.1f} s wall, {cost.cpu_sec:.1f} s CPU, {cost.peak_rss_bytes / 1e9:.2f} GB")
        results[kind, request.stage] = result
        if request.task_id is not None:
            by_task[request.task_id] = result
    return results


def stages_of(plan: Plan, truth: TileTruth, stage_params: dict[str, dict[str, Any]]) -> Iterator[tuple[str, NewTask]]:
    """Yield the tasks of a simulated tile, each with the tile's kind; its sources are the catalogue."""
    positions = tuple(
        Position(name=s.name, ra_deg=s.ra_deg, dec_deg=s.dec_deg, flux_jy=s.flux_jy) for s in truth.sources
    )
    for request in requests_of(plan, Run(label=truth.name), Options(catalog=positions, stage_params=stage_params)):
        yield truth.kind, request


def tile_of(truth: TileTruth, directory: Path) -> Tile:
    """Return a simulated tile whose raw files are in `directory`, as ingest would hand it on."""
    observation = Observation(name=truth.name, ra_deg=truth.pointing_ra_deg, dec_deg=truth.pointing_dec_deg)
    return Tile(observation=observation, paths=tuple(str(directory / name) for name in truth.files))


def run_stage(handler: str, params: dict[str, Any], place: Path, *, cores: int) -> dict[str, Any]:
    """Run a handler in a process of its own, with a worker's environment; return what `pipeline_child` measured.

    Raises StageFailed.
    """
    place.mkdir(parents=True)
    given = place / "params.json"
    given.write_text(json.dumps(params), encoding="utf-8")
    module = "absurd_project.benchmark.pipeline_child"
    done = _python(["-m", module, handler, str(given), str(place), str(cores)], place, cores)
    found: dict[str, Any] = json.loads(done.strip().splitlines()[-1])
    return found


def _python(arguments: list[str], place: Path, cores: int) -> str:
    """Run Python in a directory, with the environment of an attempt.

    Raises StageFailed with the last line of its errors.
    """
    var = settings.ABSURD_VAR
    environment.make_shared(var)
    mark = f"benchmark-{os.getpid()}"
    own = environment.of_child(mark=mark, cores=cores, scratch=place, log_path=place / "casa.log", var=var)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=own, capture_output=True, text=True, timeout=LIMIT_SEC
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise StageFailed(f"{' '.join(arguments[:3])}: {last[0]}")
    return done.stdout


def _judge(truths: Sequence[TileTruth], results: dict[tuple[str, str], dict[str, Any]], report: PipelineReport) -> None:
    calibrator = truths[0]
    gains = judge_gains(results["calibrator", SOLVE]["calibration_path"], calibrator)
    report.accuracy |= {
        "gain_amplitude_rms": gains.amplitude_rms,
        "gain_phase_rms_deg": gains.phase_rms_deg,
        "gain_flagged_fraction": gains.flagged_fraction,
    }
    for truth in truths:
        if (truth.kind, "photometry") not in results:
            continue
        image = results[truth.kind, IMAGING]
        image = results.get((truth.kind, SELF_CALIBRATION), {}).get("second_image") or image
        measured = [Measurement(**row) for row in results[truth.kind, "photometry"]["measurements"]]
        fluxes = judge_fluxes(measured, truth.sources, beam_minor_arcsec=image["beam_minor_arcsec"])
        report.accuracy |= {
            f"{truth.kind}_flux_ratio_median": fluxes.ratio_median,
            f"{truth.kind}_fraction_within": fluxes.fraction_within,
            f"{truth.kind}_offset_max_arcsec": fluxes.offset_max_arcsec,
            f"{truth.kind}_rms_over_thermal": image["rms_jy"] / image["thermal_rms_jy"],
            f"{truth.kind}_rms_jy": image["rms_jy"],
        }
        _judge_detections(truth, image, report)


def _judge_detections(truth: TileTruth, image: dict[str, Any], report: PipelineReport) -> None:
    """Count what the image misses of the injected sources, and what it shows besides them."""
    found = judge_detections(image["flat_image_path"], image["pb_path"], truth.sources, rms_jy=image["rms_jy"])
    report.accuracy |= {
        f"{truth.kind}_sources_above_7_sigma": found.n_expected,
        f"{truth.kind}_sources_missed": len(found.missed),
        f"{truth.kind}_peaks_above_7_sigma": found.n_peaks,
        f"{truth.kind}_peaks_invented": len(found.invented),
    }
    report.notes += [f"{truth.kind}: source {name} is missed" for name in found.missed]
    report.notes += [f"{truth.kind}: no source is where the image shows {peak}" for peak in found.invented]


def _measure_bare(
    raw: dict[str, list[str]],
    results: dict[tuple[str, str], dict[str, Any]],
    directory: Path,
    report: PipelineReport,
    show: Callable[[str], None],
) -> None:
    """Measure plain calls of the libraries on the same files."""
    calls: list[tuple[str, list[str]]] = [
        ("pyuvdata read and write", _script(BARE_PYUVDATA, str(directory / "bare.ms"), raw["calibrator"])),
        ("h5py read", _script(BARE_READ, "-", raw["target"])),
    ]
    if shutil.which("wsclean"):
        calls.append(("wsclean", _wsclean(results, directory / "wsclean")))
    else:
        report.notes.append("wsclean is not on PATH: imaging is not compared with it")
    for name, command in calls:
        show(f"plain call: {name}")
        try:
            report.bare.append(_timed(name, command, directory))
        except StageFailed as fault:
            report.notes.append(f"{name} is not measured: {fault}")


def _host_cores() -> int:
    return len(os.sched_getaffinity(0))


def _script(text: str, output: str, paths: list[str]) -> list[str]:
    return [sys.executable, "-c", text, output, *paths]


def _wsclean(results: dict[tuple[str, str], dict[str, Any]], name: Path) -> list[str]:
    image, size = results["target", IMAGING], str(results["target", IMAGING]["imsize_pix"])
    return [
        "wsclean", "-name", str(name), "-size", size, size, "-scale", f"{image['cell_arcsec']}asec",
        "-weight", "briggs", "0.5", "-niter", "20000", "-mgain", "0.8", "-auto-mask", "5", "-auto-threshold", "1",
        "-pol", "I", "-no-update-model-required", "-j", str(_host_cores()),
        results["target", "calibrate-target"]["ms_path"],
    ]  # fmt: skip


_WATCH = """
import json, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
wall = time.monotonic() - began
print(json.dumps({"code": code, "wall": wall, "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss * 1024}))
"""


def _timed(name: str, command: list[str], directory: Path) -> Cost:
    """Run a command under a small process that asks what its child used. Raises StageFailed."""
    found = json.loads(_python(["-c", _WATCH, *command], directory, _host_cores()).strip().splitlines()[-1])
    if found["code"]:
        raise StageFailed(f"exit code {found['code']}")
    return Cost(tile="", stage=name, wall_sec=found["wall"], cpu_sec=found["cpu"], peak_rss_bytes=found["rss"])
