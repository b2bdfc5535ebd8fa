"""The benchmark of the pipeline as a user runs it, on the smallest tiles: that it measures, judges and clears away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from absurd_project.benchmark.pipeline import Cost, PipelineReport, StageFailed, run_stage
from pipeline_app.simulation.presets import DEFECT_SETS, SIZES, tile_pair, with_defects

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.casa
@pytest.mark.realtime
def test_a_pair_is_measured_by_stage_and_against_the_truth(tmp_path):
    """Marked as long: eleven stages, each in a process of its own that imports CASA."""
    var, figures = tmp_path / "var", tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "manage.py", "absurd_benchmark", "--pipeline", "--size", "tiny", "--json", str(figures)],
        cwd=CHECKOUT, env=os.environ | {"ABSURD_VAR": str(var)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    stages = {(cost["tile"], cost["stage"]) for cost in report["costs"]}
    assert {
        ("calibrator", "calibration-solve"),
        ("target", "calibrate-target"),
        ("target", "self-calibration"),
    } <= stages
    assert all(
        cost["wall_sec"] > 0 and cost["cpu_sec"] > 0 and cost["peak_rss_bytes"] > 1e8 for cost in report["costs"]
    )
    assert {cost["stage"] for cost in report["bare"]} >= {"pyuvdata read and write", "h5py read"}
    assert {"convert_vs_pyuvdata", "calibrate_target_vs_h5py_read"} <= report["ratios"].keys()
    # Smearing that these tiles do not have, modelled all the same, would cost some 10 % of gains and fluxes.
    assert report["accuracy"]["gain_amplitude_rms"] < 0.05
    assert report["accuracy"]["target_flux_ratio_median"] == pytest.approx(1.0, abs=0.05)
    assert not list((var / "benchmark").iterdir())
    assert "all stages and imports" in done.stdout


@pytest.mark.casa
@pytest.mark.realtime
def test_a_tile_with_defects_is_judged_by_what_was_put_in(tmp_path):
    """Of the smallest size, where a phase error of 20° costs more than the noise; marked as long, as above."""
    var, figures = tmp_path / "var", tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "manage.py", "absurd_benchmark", "--pipeline", "--size", "tiny", "--defects", "phases-20",
         "--json", str(figures)],
        cwd=CHECKOUT, env=os.environ | {"ABSURD_VAR": str(var)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    (result,) = report["results"]
    accuracy = result["accuracy"]
    assert 0.8 < accuracy["coherence_true"] < 0.95
    assert accuracy["flux_ratio_first_image"] == pytest.approx(accuracy["coherence_true"], abs=0.07)
    assert accuracy["coherence"] == pytest.approx(accuracy["coherence_true"], abs=0.05)
    assert accuracy["flagged_of_injected"] is None
    assert {cost["tile"] for cost in report["costs"]} == {"calibrator", "phases-20"}
    assert not list((var / "benchmark").iterdir())
    assert "coherence_true" in done.stdout


def test_sets_of_defects_fit_every_size():
    for size in SIZES.values():
        target = tile_pair(datetime(2026, 11, 24, tzinfo=UTC), size)[1]
        for name in DEFECT_SETS:
            with_defects(target, name)
    faults = with_defects(target, "antennas").defects.antennas
    assert sum(fault.polarization is None for fault in faults) == 5
    assert sum(fault.polarization is not None for fault in faults) == 5
    assert len({fault.station for fault in faults}) == 10


def test_defects_without_the_pipeline_are_a_usage_error():
    with pytest.raises(CommandError, match="--defects goes with --pipeline") as caught:
        call_command("absurd_benchmark", "--defects", "antennas")
    assert caught.value.returncode == 2


def test_a_stage_that_fails_is_named_with_its_last_line(tmp_path, settings):
    settings.ABSURD_VAR = tmp_path
    with pytest.raises(StageFailed, match="is not a Measurement Set"):
        run_stage("pipeline_app.casa.imaging:run", {"ms_path": "/nowhere.ms"}, tmp_path / "imaging", cores=1)


def test_ratios_are_of_the_same_run_and_absent_without_their_plain_call():
    def cost(tile: str, stage: str, wall_sec: float) -> Cost:
        return Cost(tile=tile, stage=stage, wall_sec=wall_sec, cpu_sec=1.0, peak_rss_bytes=1, import_sec=2.0)

    report = PipelineReport(
        size="tiny",
        costs=[cost("calibrator", "convert-uvh5-to-ms", 11.0), cost("target", "imaging", 30.0)],
        bare=[cost("", "pyuvdata read and write", 10.0)],
    )
    assert report.ratios() == {"convert_vs_pyuvdata": pytest.approx(1.1)}
    assert report.ratios(of_cpu=True) == {"convert_vs_pyuvdata": pytest.approx(1.0)}
    assert report.total_sec("target") == 32.0
