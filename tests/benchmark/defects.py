"""A target's tile with defects through its stages: what they cost its fluxes, and whether they were noticed.

A calibrator's tile without defects is solved once. Then, for each set of defects, a target's tile is simulated, taken
through the stages of the workflow, compared with its truth, and removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.table import Table

from absurd_project.benchmark.pipeline import Cost, run_requests, run_stage, scratch, stages_of, tile_of
from pipeline_app.registration import CALIBRATE, CONVERT, IMAGING, PHOTOMETRY, SELF_CALIBRATION, SOLVE
from pipeline_app.simulation.judgement import judge_fluxes
from pipeline_app.simulation.presets import SIZES, processing_for, tile_pair, with_defects
from pipeline_app.simulation.spec import TileSpec
from pipeline_app.simulation.tile import simulate_tile
from pipeline_app.simulation.truth import TileTruth
from pipeline_app.stages.photometry import IMAGE_FIELDS, Measurement, PhotometryParams, Position
from pipeline_app.workflows import Plan
from tasks_app.engine import registry

FLAG_JUDGEMENT = "tests.benchmark.flag_judgement:run"

Results = dict[str, dict[str, Any]]
"""Of the stages of one tile."""


@dataclass(frozen=True, kw_only=True)
class DefectResult:
    """What one set of defects did to a target's tile."""

    name: str
    accuracy: dict[str, float | None]
    missed_antennas: list[str]
    """Faulty and not named, with the hand where it is one."""
    wrongly_named_antennas: list[str]
    verdict: str
    """Of the fluxes."""
    reasons: list[str]


@dataclass(kw_only=True)
class DefectReport:
    """All sets of one run."""

    size: str
    costs: list[Cost] = field(default_factory=list)
    """Their `tile` is the name of the set, or "calibrator"."""
    results: list[DefectResult] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `--json` writes it."""
        return asdict(self)


def measure(size: str, names: Sequence[str], show: Callable[[str], None]) -> DefectReport:
    """Process a target's tile with each of the sets of defects called `names`. Raises StageFailed."""
    report = DefectReport(size=size)
    calibrator_spec, target_spec = tile_pair(timezone.now(), SIZES[size])
    with scratch() as directory:
        by_task: dict[UUID, dict[str, Any]] = {}
        calibrator, plan = _solve(calibrator_spec, directory, report, show, by_task)
        for name in names:
            show(f"simulating a target's tile: {name}")
            place = directory / name
            truth = simulate_tile(place / "raw", with_defects(target_spec, name))
            target = Plan(tile=tile_of(truth, place / "raw"), role="target", solve_task_id=plan.solve_task_id)
            requests = ((name, one) for _, one in stages_of(target, truth, processing_for(SIZES[size])))
            results = {
                stage: found for (_, stage), found in run_requests(requests, place, report.costs, show, by_task).items()
            }
            found = _judge(name, calibrator, truth, results, place)
            report.results.append(found)
            figures = (f"{figure} {value:.4f}" for figure, value in found.accuracy.items() if value is not None)
            show(f"{name}: {found.verdict}; {', '.join(figures)}")
            shutil.rmtree(place)
    return report


def _solve(
    spec: TileSpec,
    directory: Path,
    report: DefectReport,
    show: Callable[[str], None],
    by_task: dict[UUID, dict[str, Any]],
) -> tuple[TileTruth, Plan]:
    """Solve a calibrator's tile and keep its calibration only."""
    show(f"simulating the calibrator's tile of size {report.size}")
    truth = simulate_tile(directory / "raw", spec)
    plan = Plan.calibrator(tile_of(truth, directory / "raw"))
    stages = stages_of(plan, truth, processing_for(SIZES[report.size]))
    needed = [(kind, one) for kind, one in stages if one.stage in (CONVERT, SOLVE)]
    run_requests(needed, directory, report.costs, show, by_task)
    for name in ("raw", f"{truth.kind}-{CONVERT}"):
        shutil.rmtree(directory / name)
    return truth, plan


def _judge(name: str, calibrator: TileTruth, truth: TileTruth, results: Results, place: Path) -> DefectResult:
    calibrated, first, again = results[CALIBRATE], results[IMAGING], results[SELF_CALIBRATION]
    final = again["second_image"] or first
    params = PhotometryParams(
        positions=[Position(name=s.name, ra_deg=s.ra_deg, dec_deg=s.dec_deg) for s in truth.sources],
        **{name: first[name] for name in IMAGE_FIELDS},
    )
    handler = registry.get(PHOTOMETRY).handler
    before = run_stage(handler, params.model_dump(mode="json"), place / "first-fluxes", cores=1)["result"]
    flags = run_stage(
        FLAG_JUDGEMENT,
        {"ms_path": calibrated["ms_path"], "truth_dir": str(place / "raw"), "truth_name": truth.name},
        place / "flags",
        cores=1,
    )["result"]
    fluxes = results[PHOTOMETRY]
    faulty, named = faulty_antennas(truth), _named(calibrated)
    return DefectResult(
        name=name,
        accuracy={
            "flux_ratio_first_image": _ratio(before, truth, first),
            "flux_ratio": _ratio(fluxes, truth, final),
            "coherence": again["coherence"],
            "coherence_true": true_coherence(calibrator, truth),
            "coherence_after": again["coherence_after"],
            "faulty_antennas_named": len(faulty & named) / len(faulty) if faulty else None,
            "flagged_of_injected": flags["flagged_of_injected"],
            "flagged_of_others": flags["flagged_of_others"],
            "rms_over_thermal": final["rms_jy"] / final["thermal_rms_jy"],
            "rms_jy": final["rms_jy"],
        },
        missed_antennas=sorted(faulty - named),
        wrongly_named_antennas=sorted(named - faulty),
        verdict=fluxes["verdict"],
        reasons=fluxes["reasons"],
    )


def _ratio(photometry: dict[str, Any], truth: TileTruth, image: dict[str, Any]) -> float:
    measured = [Measurement(**row) for row in photometry["measurements"]]
    return judge_fluxes(measured, truth.sources, beam_minor_arcsec=image["beam_minor_arcsec"]).ratio_median


def true_coherence(calibrator: TileTruth, target: TileTruth) -> float:
    """Return the factor on a flux that the change of the gains' phases costs: mean over pairs, hands and channels."""
    change = target.gains * calibrator.gains.conj()
    change /= np.abs(change)
    n_antennas = len(change)
    # the sum over all ordered pairs is |sum|²; the pairs of an antenna with itself are left out
    pairs = (np.abs(change.sum(axis=0)) ** 2 - n_antennas) / (n_antennas * (n_antennas - 1))
    return float(pairs.mean())


def faulty_antennas(truth: TileTruth) -> set[str]:
    """Return the antennas without sky, as the stage names them."""
    return {
        f"{fault.station} {fault.polarization}" if fault.polarization else str(fault.station)
        for fault in truth.defects.antennas
    }


def _named(calibrated: dict[str, Any]) -> set[str]:
    """Return the antennas that the stage names; those it names for a part of the time are followed by how much."""
    names = [*calibrated["dead_antennas"], *calibrated["antennas_without_data"]]
    return {name.partition(" (")[0] for name in names}


def print_defects(report: DefectReport, console: Console) -> None:
    """Print a table of figures, a column a set of defects, and what was not noticed."""
    table = Table("", *(result.name for result in report.results), box=box.SIMPLE)
    table.title = f"A target's tile with defects, size {report.size}"
    for figure in report.results[0].accuracy:
        values = [result.accuracy[figure] for result in report.results]
        table.add_row(figure, *("" if value is None else f"{value:.4f}" for value in values))
    table.add_row("verdict of the fluxes", *(result.verdict for result in report.results))
    for name, cost in (("CPU, s", "cpu_sec"), ("wall, s", "wall_sec")):
        sums = [sum(getattr(c, cost) for c in report.costs if c.tile == result.name) for result in report.results]
        table.add_row(f"{name}, all stages", *(f"{value:.0f}" for value in sums))
    console.print(table)
    for result in report.results:
        lines = [f"not named: {', '.join(result.missed_antennas)}"] if result.missed_antennas else []
        if result.wrongly_named_antennas:
            lines.append(f"named without a fault: {', '.join(result.wrongly_named_antennas)}")
        for line in (*lines, *result.reasons):
            console.print(f"{result.name}: {line}", highlight=False, soft_wrap=True)
