"""Pilots through PSI/J's local executor, and workers that know when their allocation ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks_app.models import Task, Worker
from tasks_app.monitoring import health
from tasks_app.operations.queues import pause
from tasks_app.operations.system import freeze
from tasks_app.postgresql import clock
from tests.workers.live import QUICK, ROOT, LiveWorkers, finished, outcomes, spawn_one, wait_for
from workers.models import Pilot
from workers.pilots.batch import running_pids

LONG = timedelta(minutes=1)


class Local:
    """Runs `absurd_pilots --executor local` on the test's database."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment, self.directory = environment | QUICK, directory

    def run(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", "absurd_pilots", "--directory", str(self.directory), *options]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment | environment, capture_output=True, text=True, timeout=120
        )

    def once(self, *options: str, **environment: str) -> dict[str, Any]:
        done = self.run("--executor", "local", "--once", "--json", "--wait", "0", *options, **environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def local(live_environment: dict[str, str], tmp_path: Path) -> Local:
    return Local(live_environment, tmp_path / "pilots")


def let_jobs_end() -> None:
    """Wait until the jobs of all pilots have ended, and date their submission back: young jobs are not judged."""
    jobs = set(Pilot.objects.exclude(native_id="").values_list("native_id", flat=True))
    wait_for(lambda: not running_pids() & jobs)
    Pilot.objects.update(submitted_at=clock.now() - LONG)


def test_waiting_tasks_get_pilots_that_run_them_and_end(local):
    spawn_one("sleep", {"seconds": 0.1}, scheduled_at=clock.now() + timedelta(days=1))
    assert local.once()["submitted"] == []
    tasks = [spawn_one("echo") for _ in range(3)]
    would = local.run("--executor", "local", "--dry-run", "--wait", "0", "--max", "2")
    assert "waiting: 2 tasks; would submit 2 pilots: pilot-" in would.stdout, "counted no further than they could take"
    assert not Pilot.objects.exists()
    assert local.once("--wait", "3600")["waiting"] == 0, "they have not waited for so long"
    first = local.once("--max", "2")
    assert (first["waiting"], len(first["submitted"]), first["starting"]) == (2, 2, 0)
    assert {finished(task).status for task in tasks} == {"completed"}
    let_jobs_end()
    ends = local.once()["ended"]
    assert set(ends) == set(first["submitted"]) and set(ends.values()) <= {"worked", "idle"}
    assert "worked" in ends.values()
    assert set(Worker.objects.values_list("label", flat=True)) == set(first["submitted"])


def test_pilots_that_are_on_their_way_count_and_the_others_are_found_by_a_later_command(local):
    for _ in range(4):
        spawn_one("echo")
    broken = {"ABSURD_DATA_ROOTS": "/nowhere"}
    assert len(local.once("--max", "3", "--tasks-per-pilot", "2", **broken)["submitted"]) == 2
    for per_pilot, more in (("2", 0), ("1", 1)):
        Pilot.objects.update(submitted_at=clock.now())
        found = local.once("--max", "3", "--tasks-per-pilot", per_pilot, **broken)
        assert (len(found["submitted"]), found["starting"]) == (more, 2), "no more than --max"


@pytest.mark.parametrize("stop", ["pause", "freeze", "timeout", "memory"])
def test_no_pilot_is_submitted_for_what_it_could_not_run(local, stop):
    task = spawn_one("sleep", {"seconds": 1}, timeout_sec=3600)
    options: tuple[str, ...] = ()
    if stop == "pause":
        pause(task.queue_id, actor="user:test", reason="test")
    elif stop == "freeze":
        freeze(actor="user:test", reason="test")
    elif stop == "timeout":
        options = ("--time-limit", "3600")
    else:
        Task.objects.update(memory_gb=4.0)
        options = ("--memory-gb", "5")
    found = local.once(*options)
    assert (found["submitted"], found["waiting"]) == ([], 0)
    assert found["unfit"] == (stop in ("timeout", "memory"))


def test_pilots_that_fail_at_once_are_not_submitted_in_a_storm_and_health_names_them(local):
    """Without a data root no worker starts; the command itself needs none."""
    for _ in range(3):
        spawn_one("echo")
    broken = {"ABSURD_DATA_ROOTS": "/nowhere"}
    assert len(local.once(**broken)["submitted"]) == 3
    let_jobs_end()
    held = local.once(**broken)
    assert (set(held["ended"].values()), held["submitted"], bool(held["held_until"])) == ({"failed"}, [], True)
    (check,) = [check for check in health.examine().checks if check.name == "pilots"]
    assert (check.state, check.finding) == ("warn", "pilots")
    assert "3 jobs of the pilots pilot in a row failed at once" in check.message and "/nowhere" in check.message
    Pilot.objects.update(ended_at=clock.now() - LONG)
    assert len(local.once(**broken)["submitted"]) == 1, "one pilot tries whether the cause is gone"
    let_jobs_end()
    Pilot.objects.filter(ended_at=None).update(submitted_at=clock.now() - LONG / 2)
    assert local.once(**broken)["ended"]
    Pilot.objects.update(ended_at=clock.now() - timedelta(seconds=45))
    assert local.once(**broken)["submitted"] == [], "and the delay grows"
    Pilot.objects.update(ended_at=clock.now() - LONG * 2)
    assert len(local.once()["submitted"]) == 1
    wait_for(lambda: not Task.objects.filter(status="pending").exists())
    let_jobs_end()
    assert "worked" in local.once()["ended"].values()
    assert {check.state for check in health.examine().checks if check.name == "pilots"} == {"ok"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--min", "5", "--max", "2"), "--min must not exceed --max (got 5 and 2)"),
        (("--max", "none"), "argument --max: write 1 to 1000, not 'none'"),
        (("--time-limit", "60", "--drain-timeout", "60"), "--time-limit leaves no time for tasks: it must exceed 105"),
        (("--executor", "condor"), "invalid choice: 'condor'"),
        (("--attribute", "qos=high"), "write EXECUTOR.KEY=VALUE, as in slurm.qos=high"),
        (("--partition", "a b"), "write letters, digits"),
        (("--directory", "/tmp/a b"), "--directory must have no spaces"),
        (("--executor", "slurm"), "slurm cannot be reached"),
    ],
)
def test_bad_usage_and_a_missing_batch_system_are_one_line_and_exit_code_two(local, tmp_path, options, complaint):
    done = local.run("--once", *options, PATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert complaint in done.stderr


def test_a_worker_claims_only_what_fits_into_its_time_and_does_not_wait_for_the_rest(workers: LiveWorkers):
    long, short = spawn_one("echo", timeout_sec=600, priority=20), spawn_one("echo", timeout_sec=5)
    workers.burst("--time-limit", "120", "--drain-timeout", "1")
    for task in (long, short):
        task.refresh_from_db()
    assert (short.status, long.status, outcomes(long)) == ("completed", "pending", [])
    workers.burst("--time-limit", "1200", "--drain-timeout", "1")
    assert finished(long).status == "completed"


@pytest.mark.parametrize("says", ["option", "slurm"])
def test_a_worker_drains_before_its_allocation_ends(workers: LiveWorkers, says):
    if says == "option":
        worker = workers.start("--time-limit", "24", "--drain-timeout", "1")
    else:
        worker = workers.start("--drain-timeout", "1", SLURM_JOB_END_TIME=str(int(time.time()) + 24))
    assert worker.wait(60) == 0
    assert "the time of its allocation is over" in workers.logs()
    row = Worker.objects.get()
    assert row.stopped_at is not None and (row.stopped_at - row.started_at).total_seconds() < 24
    assert row.drains_at is not None and row.started_at < row.drains_at < row.stopped_at


def test_an_idle_worker_ends_although_others_are_at_work(workers: LiveWorkers):
    workers.running()
    idle = workers.start("--max-idle", "1", "--burst")
    assert idle.wait(60) == 0
