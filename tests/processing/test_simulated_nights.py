"""`absurd_simulate_nights`: a night with faults through the real stages."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_app.calibration_summary import SUMMARY_NAME, read_summary
from pipeline_app.models import Calibration, Measurement, Observation, Product
from tasks_app.models import Task

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 10, 1, tzinfo=UTC)


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "manage.py"), "absurd_simulate_nights", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)


@pytest.mark.django_db(transaction=True)
def test_a_directory_with_files_and_a_number_out_of_bounds_are_refused(live_environment, tmp_path):
    for arguments, complaint in (
        ([tmp_path, "--nights", "0"], "--nights must be between 1 and 30 (got 0)"),
        ([ROOT], f"{ROOT} is not empty"),
    ):
        done = run(live_environment, *arguments)
        assert (done.returncode, complaint in done.stderr) == (2, True), done.stderr


@pytest.mark.casa
@pytest.mark.django_db(transaction=True)
def test_one_night_leaves_images_fluxes_a_missing_subband_and_a_failed_tile(live_environment, tmp_path):
    done = run(live_environment, tmp_path / "raw", "--nights", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    calibrator, incomplete, silent = Observation.objects.order_by("start_mjd")
    assert incomplete.missing_subbands() == [5]
    assert Product.objects.filter(observation=calibrator, kind="thumbnail").count() == 1
    assert Product.objects.filter(observation=incomplete, kind="image").exists()
    assert Measurement.objects.filter(observation=incomplete).count() > 2
    assert Task.objects.filter(run__run_id=silent.run_id, status="failed").exists()
    with (Path(Calibration.objects.get().path) / SUMMARY_NAME).open("rb") as file:
        summary = read_summary(file)
    assert (len(summary.antennas), len(summary.freq_ghz)) == (12, 16)
    assert all(0.5 < value < 2 for hand in summary.antennas[0].amplitude for value in hand)


@pytest.mark.casa
def test_one_source_varies_from_night_to_night_and_a_calibration_has_no_antennas():
    from pipeline_app.simulation.presets import SOLVABLE_ANTENNAS, TINY, nights

    made = nights(NOW, TINY, 4)
    fluxes = [{source.name: source.flux_jy for source in night[1].sources} for night in made]
    changed = {name for name in fluxes[0] if len({each[name] for each in fluxes}) > 1}
    assert len(changed) == 1
    silent = [len(night[0].defects.antennas) for night in made]
    assert silent == [0, 0, TINY.n_antennas - SOLVABLE_ANTENNAS, 0]
    starts = [night[0].start_time for night in made]
    assert starts == sorted(starts)
    assert starts[-1] < NOW
