"""What stages report while they run: each long step by name, and again while it lasts."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline_app.registration import STAGES
from pipeline_app.stages.calibrate_target import CalibrateTargetParams
from pipeline_app.stages.calibration_apply import CalibrationApplyParams
from pipeline_app.stages.calibration_solve import CalibrationSolveParams
from pipeline_app.stages.convert import ConvertParams
from pipeline_app.stages.imaging import ImagingParams
from tasks_app.engine.call_handler import load
from tasks_app.engine.registry import TaskSpec
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import Reduced
from tests.pipeline_app.test_calibrate_target import raw_files

pytestmark = pytest.mark.casa

CONVERT = ["reading ", "computing uvw", "writing the Measurement Set", "checking what was written"]
SOLVE = [
    "calibrator ",
    "reading calibrator.ms, row 0 of",
    "measuring the level of each antenna",
    "flagging interference",
    "round 1: solving for gains",
    "round 1: comparing data and model",
    "round 1: fitting the fluxes of the field",
    "round 1: imaging what the model lacks",
    "round 2: following phases",
    "round 2: refining positions",
    "solving once more",
    "comparing with the integrations that were held out",
    "writing the tables",
    "plotting the solutions",
]
CALIBRATE = [
    "reading the headers of 16 files",
    "choosing how many channels to average",
    "calibrating ",
    "weighing antennas by their noise",
    "writing the Measurement Set",
    "checking what was written",
]
IMAGING = [
    "reading visibilities, row 0 of",
    "weighting the visibilities and fitting the beam",
    "computing the primary beam",
    "writing the images",
    "drawing the preview",
]
APPLY = ["copying the Measurement Set", "flagging", "applying the calibration", "averaging "]


def params_of(stage: str, reduced: Reduced) -> BaseModel:
    paths, calibration = [str(path) for path in raw_files(reduced)], reduced.solved.calibration_path
    match stage:
        case "convert":
            return ConvertParams(paths=paths)
        case "calibration_solve":
            return CalibrationSolveParams(ms_path=str(reduced.calibrator_ms), model_smearing=False)
        case "calibrate_target":
            return CalibrateTargetParams(paths=paths, calibration_path=calibration)
        case "imaging":
            return ImagingParams(ms_path=reduced.applied.ms_path, field_deg=2.2, cell_arcsec=10.0)
    return CalibrationApplyParams(ms_path=str(reduced.target_ms), calibration_path=calibration)


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("imaging", IMAGING),
        ("convert", CONVERT),
        ("calibration_solve", SOLVE),
        ("calibrate_target", CALIBRATE),
        ("calibration_apply", APPLY),
    ],
)
def test_a_stage_names_its_long_steps_in_order_and_repeats_them_while_they_last(
    reduced: Reduced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, steps: list[str]
) -> None:
    """Reports are due at once here, and any processor time is work, so that the small tile's steps last long enough."""
    from pipeline_app.casa import reporting

    for name, value in {"PERIOD_SEC": 0.0, "CHECK_SEC": 0.01, "CPU_STEP_SEC": 0.0}.items():
        monkeypatch.setattr(reporting, name, value)
    context = LocalContext(tmp_path)
    importlib.import_module(f"pipeline_app.casa.{stage}").run(params_of(stage, reduced), context)
    said = [message for _, message in context.reported]
    places = [next((n for n, message in enumerate(said) if message.startswith(step)), -1) for step in steps]
    assert -1 not in places, (steps[places.index(-1)], said)
    assert places == sorted(places)
    fractions = [round(fraction, 9) for fraction, _ in context.reported if fraction is not None]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert any(again == f"{message}, 0 s" for message in said for again in said)


@pytest.mark.parametrize("spec", STAGES, ids=[spec.name for spec in STAGES])
def test_every_stage_reports_steadily_and_is_called_with_its_own_params(spec: TaskSpec) -> None:
    handler, model = load(spec.handler)
    assert inspect.unwrap(handler) is not handler
    assert model is spec.params_model


def test_the_last_report_is_repeated_while_the_stage_works_and_not_while_it_hangs(tmp_path: Path) -> None:
    from pipeline_app.casa.reporting import SteadyContext

    context = LocalContext(tmp_path)
    steady = SteadyContext(context)
    steady.repeat_if_due(steady._reported_at + 60.0, 1.0)
    assert context.reported == []
    steady.progress(0.5, "writing", rows=3)
    began = steady._reported_at
    for after_sec, cpu_sec in ((4.0, 2.0), (5.0, 3.0), (6.0, 4.0), (10.0, 5.0), (20.0, 5.0), (30.0, 5.0), (31.0, 6.0)):
        steady.repeat_if_due(began + after_sec, cpu_sec)
    again = [(0.5, f"writing, {after_sec} s") for after_sec in (5, 10, 31)]
    assert context.reported == [(0.5, "writing"), *again]


def test_a_stage_within_a_stage_is_repeated_by_the_outer_one_only(tmp_path: Path) -> None:
    import threading

    from pipeline_app.casa.reporting import steadily

    @steadily
    def inner(params: None, context: LocalContext) -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    @steadily
    def outer(params: None, context: LocalContext) -> list[str]:
        return inner(params, context)

    before = [thread.name for thread in threading.enumerate()]
    assert sorted(outer(None, LocalContext(tmp_path))) == sorted([*before, "progress"])
    assert "progress" not in [thread.name for thread in threading.enumerate()]
