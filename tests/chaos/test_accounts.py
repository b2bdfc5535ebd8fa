"""The judge of a game notices what it is there for."""

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
from workers.gameday import invariants, polling, runner
from workers.gameday.catalogue import Scenario
from workers.gameday.report import Report
from workers.gameday.scenario_run import Game, Terms
from workers.process.environment import CHECKOUT

pytestmark = pytest.mark.chaos


def fails_twice(game: Game) -> None:
    """A task that ends, and ends again."""
    game.crew.start_ready()
    task = game.spawn("fail", {}, max_retries=0)
    polling.finished(task)
    retry(task.task_id, actor="user:test")
    polling.event(task, "failed", nth=2)


def leaves_a_product(game: Game) -> None:
    """A failed attempt whose product is there all the same."""
    game.crew.start_ready()
    task = polling.finished(game.spawn("fail", {}, max_retries=0))
    token = str(Attempt.objects.get(task_id=task.task_id).claim_token)
    (game.data / "fail" / f"image.{token[:8]}").mkdir(parents=True)


def loses_a_product(game: Game) -> None:
    """A completed task whose product has gone."""
    game.crew.start_ready()
    task = polling.finished(game.spawn("echo", {"outputs": {"image.fits": "pixels"}}))
    (path,) = task.result["paths"]
    Path(path).unlink()


def breaks(game: Game) -> None:
    """A scenario that does not work."""
    game.spawn("echo")
    raise ZeroDivisionError("no antenna left")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a game that failed leaves its logs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def judged(play, terms: Terms) -> Report:
    return runner.play(Scenario(name=play.__name__, title=play.__doc__, play=play), terms)


def test_a_task_that_ends_twice_is_noticed(transactional_db, terms):
    report = judged(fails_twice, terms)
    assert (report.passed, report.ended_twice, report.events["failed"]) == (False, 1, 2)
    assert "no task has ended twice: 1" in report.explained()


def test_a_product_of_a_refused_attempt_is_noticed(transactional_db, terms):
    report = judged(leaves_a_product, terms)
    assert (report.passed, report.refused_products, report.ended) == (False, 1, {"failed": 1})


def test_a_missing_product_is_noticed(transactional_db, terms):
    report = judged(loses_a_product, terms)
    assert [check.what for check in report.failures] == ["every product of a completed task is there"]


def test_a_scenario_that_breaks_has_failed_leaves_nothing_open_and_keeps_its_logs(transactional_db, terms, kept):
    report = judged(breaks, terms)
    assert not Task.objects.exclude(status="cancelled").exists()
    assert str(kept) in report.notes[-1] and len(list(kept.glob("gameday-*"))) == 1
    assert not report.passed and "ZeroDivisionError: no antenna left" in report.explained()


def test_a_task_that_does_not_end_is_noticed(transactional_db, terms):
    game = Game(terms, Report(name="endless", title="nobody serves the queue"))
    game.spawn("echo")
    invariants.settle(game, patience_sec=0.1)
    assert not game.report.passed and "1 tasks: not within" in game.report.explained()
    game.close(keep=False)
    assert not game.directory.exists()


def test_slow_recovery_and_lost_throughput_are_noticed():
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
from workers.gameday import catalogue
@catalogue.scenario("breaks")
def breaks(game):
    "A scenario that does not work."
    game.spawn("echo")
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
    told = json.loads(done.stdout)
    passed = {scenario["name"]: scenario["passed"] for scenario in told["scenarios"]}
    assert (told["passed"], passed) == (False, {"breaks": False, "segfault": True})
    assert "no antenna left" in done.stderr
