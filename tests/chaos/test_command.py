"""`manage.py absurd_gameday` as an operator runs it, on a system where others are at work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tasks_app.engine import system_state
from tasks_app.models import SystemState, Task, TaskEvent, Worker
from tasks_app.operations.queues import pause, resume
from tasks_app.operations.system import freeze
from tasks_app.operations.tasks import cancel
from tests.workers.live import LiveWorkers, child_of, finished, outcomes, spawn_one, wait_for
from workers.gameday.drill import Options
from workers.gameday.runner import refusal
from workers.gameday.scenarios import SCENARIOS
from workers.process.environment import CHECKOUT

pytestmark = pytest.mark.chaos
REPORT = {
    "passed", "name", "title", "skipped", "wall_sec", "accepted", "ended", "ended_twice", "refused_products",
    "recovery_sec", "recovery_bound_sec", "throughput_before", "throughput_after", "events", "notes", "checks",
}  # fmt: skip


def begin(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "absurd_gameday", *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = begin(environment, *arguments)
    printed, complaint = process.communicate(timeout=240)
    return process.returncode, printed, complaint


@pytest.fixture
def others(live_environment: dict[str, str], tmp_path: Path):
    """Yield workers that are none of the drill's business."""
    live = LiveWorkers(live_environment, tmp_path)
    yield live
    live.kill_all()


def test_it_kills_its_own_workers_only_and_leaves_others_tasks_alone(live_environment, others):
    theirs = others.start("--concurrency", "2")
    running, waiting = spawn_one("sleep", {"seconds": 60}), spawn_one("echo", queue_name="other")
    child = child_of(running)
    code, printed, complaint = run(live_environment, "--only", "kill-all", "--yes", "--json")
    assert code == 0, complaint
    (report,) = json.loads(printed)["scenarios"]
    assert set(report) == REPORT
    assert (report["accepted"], report["ended"]) == (6, {"completed": 6})
    assert 0 < report["recovery_sec"] <= report["recovery_bound_sec"] + 1 == 8
    assert report["events"]["retrying"] == 4 and report["events"]["completed"] == 6
    assert "passed kill-all" in complaint
    assert theirs.poll() is None and child.is_running()
    for task, status in ((running, "claimed"), (waiting, "pending")):
        task.refresh_from_db()
        assert (task.status, task.claim_epoch) == (status, int(status == "claimed"))
    assert set(Task.objects.filter(created_by="gameday").values_list("queue_id", flat=True)) == {"gameday"}
    by_the_drill = TaskEvent.objects.filter(actor__startswith="worker:gameday-", task_id__isnull=False)
    assert set(by_the_drill.values_list("queue_name", flat=True)) == {"gameday"}
    assert Worker.objects.filter(stopped_at=None).count() == 1, "its dead workers are signed off"
    assert outcomes(running) == [""]


def test_interrupted_it_ends_its_workers_and_its_tasks(live_environment, tmp_path):
    (tmp_path / "t").mkdir()
    drill = begin(
        live_environment | {"TMPDIR": str(tmp_path / "t")}, "--only", "hang-in-c", "--lease-sec", "600", "--yes"
    )
    task = wait_for(lambda: Task.objects.filter(task_name="hang-in-c", status="claimed").first())
    child = child_of(task)
    drill.send_signal(signal.SIGTERM)
    _, complaint = drill.communicate(timeout=60)
    assert (drill.returncode, "interrupted" in complaint) == (1, True)
    wait_for(lambda: not child.is_running())
    assert set(Task.objects.values_list("status", flat=True)) <= {"cancelled", "completed"}
    assert Worker.objects.exclude(stopped_at=None).count() == 1
    assert not list((tmp_path / "t").iterdir())


def test_killed_it_takes_its_workers_along_and_the_next_drill_ends_what_it_left(live_environment):
    drill = begin(live_environment, "--only", "hang-in-c", "--lease-sec", "600", "--yes")
    task = wait_for(lambda: Task.objects.filter(task_name="hang-in-c", status="claimed").first())
    child, worker = child_of(task), psutil.Process(Worker.objects.get().pid)
    drill.kill()
    drill.communicate()
    wait_for(lambda: not child.is_running() and not worker.is_running())
    code, _, complaint = run(live_environment, "--only", "segfault", "--yes")
    assert (code, "serves queue" in complaint) == (2, True), "its worker counts as up until it has missed some reports"
    Worker.objects.update(heartbeat_at="2026-01-01T00:00:00Z")
    assert run(live_environment, "--only", "segfault", "--yes")[0] == 0
    assert finished(task, 1).status == "cancelled"
    for left in Path(tempfile.gettempdir()).glob(f"{worker_directory()}*"):
        subprocess.run(["rm", "-r", str(left)], check=True)


def worker_directory() -> str:
    return Worker.objects.order_by("started_at").values_list("label", flat=True)[0].rsplit("-", 1)[0]


def test_it_lists_the_scenarios(live_environment):
    code, printed, _ = run(live_environment, "--list", "--json")
    listed = json.loads(printed)
    assert code == 0 and [each["name"] for each in listed] == list(SCENARIOS)
    assert {each["name"] for each in listed if each["own_servers"]} == {
        "postgres-restart", "postgres-crash", "postgres-away", "postgres-frozen", "connections-exhausted",
        "valkey-stopped",
    }  # fmt: skip
    code, printed, _ = run(live_environment, "--list", "--only", "poison-task")
    assert code == 0 and "quarantined after three" in printed and "kill-all" not in printed


def refused(environment: dict[str, str], *arguments: str) -> str:
    code, printed, complaint = run(environment, "--only", "segfault", *arguments)
    assert (code, printed, complaint.count("\n")) == (2, "", 1), (printed, complaint)
    return complaint


def test_it_refuses_in_one_line_to_run_where_it_must_not(live_environment):
    assert "give --yes" in refused(live_environment)
    assert "'nonsense'" in refused(live_environment, "--only", "nonsense", "--yes")
    assert "main queue" in refused(live_environment, "--queue-name", "dsa110-pipeline", "--yes")
    assert "must be at least 2 s (got 1)" in refused(live_environment, "--lease-sec", "1", "--yes")
    task = spawn_one("echo", queue_name="gameday")
    assert "1 open tasks of others" in refused(live_environment, "--yes")
    assert not Task.objects.filter(created_by="gameday").exists()
    cancel(task.task_id, actor="user:test")
    assert refusal(Options()) == ""
    pause("gameday", actor="user:test", reason="maintenance")
    assert "is paused" in refusal(Options())
    resume("gameday", actor="user:test")
    freeze(actor="user:test", reason="storm")
    assert "is frozen" in refusal(Options())


def test_it_needs_no_variable_in_the_shell_and_runs_several_by_name(live_environment):
    system_state.initialise(enabled=True)
    shell = {name: value for name, value in live_environment.items() if name not in ("ABSURD_ENABLED", "ABSURD_HEALTH")}
    shell |= {"ABSURD_MODE": "production", "SECRET_KEY": "0123456789" * 6, "ABSURD_HOSTS": "localhost"}
    code, printed, complaint = run(shell, "--only", "kill-child", "segfault", "--yes", "--json")
    assert code == 0, complaint
    assert [report["name"] for report in json.loads(printed)["scenarios"]] == ["kill-child", "segfault"]


def test_disabled_it_says_so_and_asks_to_come_again(live_environment):
    SystemState.objects.create(id=1, enabled=False, changed_by="user:olga")
    code, printed, complaint = run(live_environment, "--only", "segfault", "--yes")
    assert (code, printed, "disabled" in complaint) == (75, "", True)
    help_text = " ".join(run(live_environment, "--help")[1].split())
    for words in ("0 all passed", "1 a scenario failed", "2 wrong usage", "75 Absurd is disabled"):
        assert words in help_text
