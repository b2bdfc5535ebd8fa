from __future__ import annotations

import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from absurd_project.demo import DemoTile, NothingToJudge, judge, print_judgement, simulate
from pipeline_app.models import Measurement
from pipeline_app.simulation import TINY, TileTruth, tile_pair
from tasks_app.models import Run, Task

NOW = datetime(2026, 10, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db
IMAGE = {
    "image_path": "/data/i.fits",
    "preview_path": "/data/i.png",
    "rms_jy": 0.001,
    "thermal_rms_jy": 0.0008,
    "peak_jy": 0.9,
    "dynamic_range": 900.0,
    "beam_major_arcsec": 60.0,
    "beam_minor_arcsec": 30.0,
    "beam_pa_deg": 10.0,
    "imsize_pix": 512,
    "cell_arcsec": 6.0,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> list[DemoTile]:
    return simulate(tile_pair(NOW, dataclasses.replace(TINY, n_antennas=6, n_times=2)), tmp_path_factory.mktemp("demo"))


def solution(directory: Path, truth: TileTruth, factor: complex) -> str:
    """Write the gains that a perfect solve would find, times a factor that differs from antenna to antenna."""
    factors = np.full(len(truth.antenna_names), 1.0 + 0j)
    factors[1:] = factor
    gains = truth.gains.conj() * factors[:, None, None]
    np.savez(
        directory / "gains.npz",
        antenna_names=np.array(truth.antenna_names),
        freqs_hz=truth.freqs_hz,
        gains=gains,
        flags=np.zeros(gains.shape, dtype=bool),
        refant=np.array(truth.antenna_names[0]),
    )
    return str(directory)


TARGET = {"imaging": IMAGE, "self-calibration": {"second_image": None}, "photometry": {}}


def finished(tile: DemoTile, results: dict[str, dict[str, Any]]) -> list[Task]:
    """Unsaved tasks of one run, completed with the given results."""
    run = Run(label=tile.name)
    return [
        Task(task_id=uuid4(), run=run, stage=stage, task_name=stage, status="completed", result=result)
        for stage, result in results.items()
    ]


def outcome(pair: list[DemoTile], directory: Path, *, flux: float = 1.0, offset: float = 0.5, gain: complex = 1.0):
    calibrator, target = pair
    solved = {"calibration_path": solution(directory, calibrator.truth, gain)}
    tasks = finished(calibrator, {"calibration-solve": solved}) + finished(target, TARGET)
    Measurement.objects.bulk_create(
        Measurement(
            task_id=tasks[-1].task_id,
            image_path=IMAGE["image_path"],
            name=source.name,
            ra_deg=source.ra_deg,
            dec_deg=source.dec_deg,
            freq_hz=1.405e9,
            flux_jy=source.flux_jy * flux,
            flux_err_jy=0.001,
            snr=100.0,
            offset_arcsec=offset,
            local_rms_jy=0.001,
            primary_beam=0.9,
        )
        for source in target.truth.sources
    )
    return judge(calibrator, target, tasks)


def test_products_like_the_truth_pass(pair, tmp_path, capsys):
    judgement = outcome(pair, tmp_path)
    assert judgement["passed"] and all(check["passed"] for check in judgement["checks"])
    assert len(judgement["sources"]) == len(pair[1].truth.sources)
    assert judgement["gains"]["amplitude_rms"] == pytest.approx(0.0, abs=1e-6)
    json.dumps(judgement, allow_nan=False)


@pytest.mark.parametrize(
    "fault",
    [{"flux": 1.35}, {"flux": 0.96}, {"offset": 6.5}, {"gain": 1.03}, {"gain": np.exp(1j * np.radians(4.0))}],
)
def test_each_fault_of_the_products_fails_the_demo(pair, tmp_path, fault):
    judgement = outcome(pair, tmp_path, **fault)
    assert not judgement["passed"]


def test_a_stage_that_did_not_complete_is_named(pair, tmp_path):
    calibrator, target = pair
    tasks = finished(target, {"imaging": IMAGE, "self-calibration": {"second_image": None}})
    tasks[0].status, tasks[0].error = "failed", "disk full"
    with pytest.raises(NothingToJudge, match=f"imaging of {target.name} is failed: disk full"):
        judge(calibrator, target, tasks)
    with pytest.raises(NothingToJudge, match="was not spawned"):
        judge(calibrator, target, [])


def test_the_printed_table_shows_injected_and_measured(pair, tmp_path, capsys):
    judgement = outcome(pair, tmp_path, flux=1.02)
    print_judgement(judgement, sys.stdout)
    said = capsys.readouterr().out
    source = pair[1].truth.sources[0]
    for part in (source.name, f"{source.flux_jy * 1e3:.2f}", f"{source.flux_jy * 1.02 * 1e3:.2f}", "1.020", "0.50"):
        assert part in said
