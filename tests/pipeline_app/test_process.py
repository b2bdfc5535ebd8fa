from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_app.models import Measurement, Observation, Product
from pipeline_app.simulation import TINY, TileTruth, simulate_tile, tile_pair
from tasks_app.models import Run, Task, Worker
from tests.pipeline_app.tiles import copy_tile, make_raw_tile

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
UNSMEARED = ("--set", "calibration-solve.model_smearing=false", "--set", "imaging.correct_smearing=false")
"""The reduced tiles are simulated without smearing, which would be large in their wide channels."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "absurd_process", *map(str, arguments)]


def process(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def raw_pair(tmp_path_factory) -> tuple[Path, list[TileTruth]]:
    directory = tmp_path_factory.mktemp("pair")
    specs = tile_pair(datetime(2026, 10, 1, tzinfo=UTC), TINY)
    return directory, [simulate_tile(directory / spec.kind, spec) for spec in specs]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["/nowhere"], "/nowhere is not a directory"),
        (["{broken}"], "half.hdf5: the file is truncated"),
        (["{empty}", "--catalog", "{csv}"], "line 3: dec_deg '95'"),
        (["{empty}", "--set", "imagine.niter=5"], "unknown task name imagine"),
        (["{empty}", "--json", "/nowhere/report.json"], "/nowhere/report.json cannot be written"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_two(live_environment, tmp_path, arguments, complaint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    whole = make_raw_tile(tmp_path / "raw")[0].read_bytes()
    (tmp_path / "broken" / "half.hdf5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad.csv").write_text("name,ra_deg,dec_deg\nA,10,20\nB,10,95\n")
    places = {"empty": tmp_path / "empty", "broken": tmp_path / "broken", "csv": tmp_path / "bad.csv"}
    done = process(live_environment, *(argument.format(**places) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Task.objects.exists()


def test_a_param_that_a_stage_refuses_spawns_nothing_and_is_in_the_report(live_environment, tmp_path):
    copy_tile(make_raw_tile(tmp_path / "original"), tmp_path / "raw")
    done = process(live_environment, tmp_path / "raw", "--set", "imaging.niter=-5", "--json", tmp_path / "report.json")
    assert (done.returncode, "params.niter" in done.stderr) == (2, True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert "params.niter" in report["trouble"] and report["tasks"] == []
    assert not Run.objects.exists()


def test_it_refuses_where_the_system_is_switched_off(live_environment, tmp_path):
    done = process(live_environment | {"ABSURD_ENABLED": "false"}, tmp_path)
    assert (done.returncode, "absurd_enable" in done.stderr) == (1, True)


def test_ctrl_c_cancels_what_has_not_finished_and_leaves_a_report(live_environment, tmp_path):
    """A live worker's row that claims nothing keeps the command from starting a worker, so that the tasks wait."""
    Worker.objects.create(
        label="idle", host="test", host_id="test", pid=1, queues=["quiet"], concurrency=1, heartbeat_sec=600
    )
    raw = make_raw_tile(tmp_path / "raw")[0].parent
    arguments = command(raw, "--queue-name", "quiet", "--json", tmp_path / "report.json")
    with subprocess.Popen(arguments, cwd=ROOT, env=live_environment, stdout=subprocess.PIPE, text=True) as running:
        try:
            wait_for(Task.objects.exists)
            time.sleep(0.5)
            running.send_signal(signal.SIGINT)
            said, _ = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 1
    assert "interrupted" in said
    assert {task.status for task in Task.objects.all()} == {"cancelled"}
    assert json.loads((tmp_path / "report.json").read_text())["trouble"] == "interrupted"


def wait_for(condition: Any, patience_sec: float = 60.0) -> None:
    deadline = time.monotonic() + patience_sec
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.casa
def test_raw_files_become_fluxes(live_environment, raw_pair, tmp_path):
    """Wrong catalogue fluxes must set nothing but the verdicts, so only the tasks are judged."""
    directory, (_, target) = raw_pair
    catalog = tmp_path / "positions.csv"
    rows = [f"{source.name},{source.ra_deg},{source.dec_deg},0.001" for source in target.sources]
    catalog.write_text("\n".join(["name,ra_deg,dec_deg,flux_jy", *rows]))
    report_path = tmp_path / "report.json"

    done = process(live_environment, directory, "--catalog", catalog, "--json", report_path, "--tasks-only", *UNSMEARED)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_path.read_text())
    assert report["ok"] is True
    assert [observation["role"] for observation in report["observations"]] == ["calibrator", "target"]
    assert {task["status"] for task in report["tasks"]} == {"completed"}
    assert len(report["tasks"]) == 9
    kinds = {product["kind"] for product in report["products"]}
    assert {"ms", "calibration", "calibrated-ms", "image", "preview", "photometry"} <= kinds
    for product in report["products"]:
        assert Path(product["path"]).exists() and product["versions"]["casatasks"]
    images = [product for product in report["products"] if product["kind"] == "image"]
    assert all(0 < image["rms_jy"] < 0.05 for image in images)
    fluxes = {row["name"]: row for row in report["measurements"]}
    assert set(fluxes) == {source.name for source in target.sources}
    for source in target.sources:
        row = fluxes[source.name]
        assert row["observation"] == target.name
        assert abs(row["flux_jy"] - source.flux_jy) < 0.1 * source.flux_jy + 4 * row["flux_err_jy"]
    assert "all tasks completed" in done.stdout and "(9 of 9)" in done.stdout
    assert (Product.objects.count(), Measurement.objects.count()) == (len(report["products"]), len(fluxes))


@pytest.mark.casa
def test_without_a_calibrator_the_refusal_is_reported_and_its_dependants_fail(live_environment, raw_pair, tmp_path):
    directory, _ = raw_pair
    report_path = tmp_path / "report.json"
    done = process(live_environment, directory / "target", "--json", report_path)
    assert done.returncode == 1, done.stdout
    report = json.loads(report_path.read_text())
    tasks = {task["task_name"]: task for task in report["tasks"]}
    solve, apply, imaging = (tasks[name] for name in ("calibration-solve", "calibrate-target", "imaging"))
    assert (solve["status"], solve["verdict"]) == ("completed", "fail")
    assert (apply["status"], apply["failure_class"]) == ("failed", "invalid")
    assert "calibration refused" in apply["error"] and solve["reasons"][0] in apply["error"]
    assert (imaging["status"], imaging["failure_class"]) == ("failed", "invalid")
    assert imaging["unrunnable_because"] == apply["task_id"]
    assert {"observation": Observation.objects.get().name, "task_name": "calibration-solve", "verdict": "fail",
            "reasons": solve["reasons"]} in report["verdicts"]  # fmt: skip
    assert report["measurements"] == [] and report["ok"] is False
