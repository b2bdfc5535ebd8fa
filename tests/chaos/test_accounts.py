"""The checks after a scenario find what they are there for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks_app.models import Attempt, Task
from tasks_app.operations.tasks import retry
from workers.gameday import polling, runner
from workers.gameday.drill import Drill, Options, Scenario
from workers.gameday.report import Report
from workers.process.environment import CHECKOUT

pytestmark = pytest.mark.chaos


def fails_twice(drill: Drill) -> None:
    """A task that ends, and ends again."""
    drill.processes.start_ready()
    task = drill.spawn("fail", {}, max_retries=0)
    polling.finished(task)
    retry(task.task_id, actor="user:test")
    polling.event(task, "failed", nth=2)


def leaves_a_product(drill: Drill) -> None:
    """A failed attempt whose product is there all the same."""
    drill.processes.start_ready()
    task = polling.finished(drill.spawn("fail", {}, max_retries=0))
    token = str(Attempt.objects.get(task_id=task.task_id).claim_token)
    (drill.data / "fail" / f"image.{token[:8]}").mkdir(parents=True)


def loses_a_product(drill: Drill) -> None:
    """A completed task whose product has gone."""
    drill.processes.start_ready()
    task = polling.finished(drill.spawn("echo", {"outputs": {"image.fits": "pixels"}}))
    (path,) = task.result["paths"]
    Path(path).unlink()


def breaks(drill: Drill) -> None:
    """A scenario that does not work."""
    drill.spawn("echo")
    raise ZeroDivisionError("no antenna left")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a drill that failed leaves its logs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def judged(run, options: Options) -> Report:
    return runner.run(Scenario(name=run.__name__, title=run.__doc__, run=run), options)


def test_a_task_that_ends_twice_is_found(transactional_db, options):
    report = judged(fails_twice, options)
    assert (report.passed, report.ended_twice, report.events["failed"]) == (False, 1, 2)
    assert "no task has ended twice: 1" in report.explained()


def test_a_product_of_a_refused_attempt_is_found(transactional_db, options):
    report = judged(leaves_a_product, options)
    assert (report.passed, report.refused_products, report.ended) == (False, 1, {"failed": 1})


def test_a_missing_product_is_found(transactional_db, options):
    report = judged(loses_a_product, options)
    assert [check.what for check in report.failures] == ["every product of a completed task is there"]


def test_a_scenario_that_breaks_has_failed_leaves_nothing_open_and_keeps_its_logs(transactional_db, options, kept):
    report = judged(breaks, options)
    assert not Task.objects.exclude(status="cancelled").exists()
    assert str(kept) in report.notes[-1] and len(list(kept.glob("gameday-*"))) == 1
    assert not report.passed and "ZeroDivisionError: no antenna left" in report.explained()


def test_a_task_that_does_not_end_is_found(transactional_db, options):
    drill = Drill(options, Report(name="endless", title="nobody serves the queue"))
    drill.spawn("echo")
    runner.check_all_tasks(drill, limit_sec=0.1)
    assert not drill.report.passed and "1 tasks: not within" in drill.report.explained()
    drill.close(keep=False)
    assert not drill.directory.exists()


def test_slow_recovery_and_lost_throughput_are_found():
    report = Report(name="slow", title="")
    report.recovered("back", 7.9, 7.0)
    report.throughput(20, 16)
    assert report.passed and (report.recovery_sec, report.recovery_bound_sec) == (7.9, 7.0)
    report.recovered("back", 8.1, 7.0)
    report.throughput(20, 15.9)
    assert [check.found for check in report.failures] == ["8.10 s", "15.9 of 20 tasks/s"]


FAILING = """
import sys, django
django.setup()
from workers.gameday.drill import scenario
@scenario("breaks")
def breaks(drill):
    "A scenario that does not work."
    drill.spawn("echo")
    raise ZeroDivisionError("no antenna left")
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "absurd_gameday", "--only", "breaks", "--only", "segfault", *sys.argv[1:]])
"""


def test_the_command_exits_1_when_a_scenario_fails(live_environment):
    environment = live_environment | {
        "TMPDIR": os.environ["TMPDIR"],
        "DJANGO_SETTINGS_MODULE": "absurd_project.settings",
        "PYTHONPATH": str(CHECKOUT),
    }
    argv = [sys.executable, "-c", FAILING, "--yes", "--json"]
    done = subprocess.run(argv, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    passed = {scenario["name"]: scenario["passed"] for scenario in printed["scenarios"]}
    assert (printed["passed"], passed) == (False, {"breaks": False, "segfault": True})
    assert "no antenna left" in done.stderr
