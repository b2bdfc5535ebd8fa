"""The benchmark's hour of tiles on the smallest tiles: processed unattended, judged, cleared away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from absurd_project.benchmark.hour import HourResult

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.casa
@pytest.mark.realtime
def test_tiles_go_through_a_system_of_their_own_and_leave_nothing(tmp_path):
    """Marked as long: two tiles through web, ingest and workers, each stage in a process with CASA."""
    var, figures = tmp_path / "var", tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "manage.py", "absurd_benchmark", "--hour", "--tiles", "1", "--size", "tiny",
         "--json", str(figures)],
        cwd=CHECKOUT, env=os.environ | {"ABSURD_VAR": str(var)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    assert report["n_tiles"] == 2
    assert report["n_failed_tasks"] == 0
    assert {(stage["tile"], stage["stage"]) for stage in report["stages"]} >= {
        ("calibrator", "calibration-solve"),
        ("target", "self-calibration"),
        ("target", "photometry"),
    }
    assert report["flux_ratio_medians"] == [pytest.approx(1.0, abs=0.05)]
    assert report["real_time_factor"] == pytest.approx(report["tile_duration_sec"] * 2 / report["wall_sec"])
    assert report["clean"], done.stdout
    assert not list((var / "benchmark").iterdir())
    assert "times real time" in done.stdout


@pytest.mark.parametrize("field", ["left_attempts", "left_products", "left_processes"])
def test_what_is_left_over_is_not_clean(field):
    assert HourResult(n_tiles=2, n_batches=1).clean
    assert not HourResult(n_tiles=2, n_batches=1, **{field: ["something"]}).clean


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--hour", "--tiles", "0"], "--tiles is a number from 1 to 12"),
        (["--hour", "--tiles", "13"], "--tiles is a number from 1 to 12"),
        (["--tiles", "3"], "with --hour"),
        (["--hour", "--pipeline"], "either --pipeline or --hour"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, fault):
    with pytest.raises(CommandError, match=fault) as caught:
        call_command("absurd_benchmark", *options)
    assert caught.value.returncode == 2
