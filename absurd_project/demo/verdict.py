"""What the pipeline found against what was injected: every figure is computed from the products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from absurd_project.demo.tiles import DemoTile
from pipeline_app.models import Measurement as MeasurementRow
from pipeline_app.registration import IMAGING, PHOTOMETRY, SELF_CALIBRATION, SOLVE
from pipeline_app.simulation.judgement import FluxJudgement, GainJudgement, judge_fluxes, judge_gains
from pipeline_app.stages.photometry import Measurement
from tasks_app.models import Task


class NothingToJudge(Exception):
    """A stage without which there is no judgement has not completed."""


def judge(calibrator: DemoTile, target: DemoTile, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the judgement of a demo as a document: sources, image, gains, checks, and whether all passed.

    Raises NothingToJudge.
    """
    imaging = image_of(tasks, target)
    fluxes = judge_fluxes(
        measurements_of(tasks, target), target.truth.sources, beam_minor_arcsec=imaging["beam_minor_arcsec"]
    )
    gains = judge_gains(_result(tasks, calibrator, SOLVE)["calibration_path"], calibrator.truth)
    checks = [*fluxes.checks, *gains.checks]
    return {
        "passed": all(check.passed for check in checks),
        "checks": [_plain(asdict(check)) for check in checks],
        "sources": _sources(fluxes),
        "fluxes": _figures(fluxes),
        "image": {
            name: imaging[name]
            for name in (
                "image_path", "preview_path", "rms_jy", "thermal_rms_jy", "peak_jy", "dynamic_range",
                "beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg", "imsize_pix", "cell_arcsec",
            )
        },
        "gains": _gains(gains),
    }  # fmt: skip


def _task(tasks: Sequence[Task], tile: DemoTile, stage: str) -> Task:
    found = next((t for t in tasks if t.run is not None and t.run.label == tile.name and t.stage == stage), None)
    if found is None or found.status != "completed":
        state = "was not spawned" if found is None else f"is {found.status}: {found.error or ''}"
        raise NothingToJudge(f"{stage} of {tile.name} {state}".strip())
    return found


def _result(tasks: Sequence[Task], tile: DemoTile, stage: str) -> dict[str, Any]:
    result: dict[str, Any] = _task(tasks, tile, stage).result or {}
    return result


def image_of(tasks: Sequence[Task], tile: DemoTile) -> dict[str, Any]:
    """Return the result of imaging that a target was measured in: the second image's where there is one.

    Raises NothingToJudge.
    """
    image: dict[str, Any] = _result(tasks, tile, SELF_CALIBRATION)["second_image"] or _result(tasks, tile, IMAGING)
    return image


def measurements_of(tasks: Sequence[Task], tile: DemoTile) -> list[Measurement]:
    """Return the fluxes of a tile as recorded in the database. Raises NothingToJudge."""
    rows = MeasurementRow.objects.filter(task_id=_task(tasks, tile, PHOTOMETRY).task_id)
    names = [name for name in Measurement.model_fields if name != "verdict"]
    return [Measurement(**{name: getattr(row, name) for name in names}, verdict=row.verdict or None) for row in rows]


def _sources(fluxes: FluxJudgement) -> list[dict[str, Any]]:
    return [_plain(asdict(source) | {"bright": source.bright}) for source in fluxes.sources]


def _figures(fluxes: FluxJudgement) -> dict[str, Any]:
    names = ("n_bright", "fraction_within", "ratio_median", "offset_median_arcsec", "offset_max_arcsec")
    return _plain({name: getattr(fluxes, name) for name in names})


def _gains(gains: GainJudgement) -> dict[str, Any]:
    names = ("amplitude_rms", "amplitude_median", "phase_rms_deg", "flagged_fraction", "n_antennas")
    return _plain({name: getattr(gains, name) for name in names})


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Replace what JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
