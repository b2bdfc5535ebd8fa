"""Health, stats, monitor, workers, spawn and the emergency commands from the shell."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from datetime import timedelta

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Freeze, Task, TaskEvent, Worker
from tasks_app.operations.system import current_freeze
from tasks_app.postgresql import clock
from tasks_app.testing import make_task, make_worker
from tests.tasks_app.management.commands import ROOT, json_of, output_of, refused, run
from tests.tasks_app.management.test_task_commands import failed_note, types
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db


def ends_with(code: int, *arguments: object) -> None:
    with pytest.raises(SystemExit) as caught:
        output_of(*arguments)
    assert caught.value.code == code


def test_health_is_terse_full_or_json(worker):
    assert output_of("absurd_health") == "dsa110-pipeline: healthy\n"
    for command in (["absurd_health", "--full"], ["absurd_doctor"]):
        assert output_of(*command).startswith("dsa110-pipeline: healthy\n")
        assert "ok    workers" in output_of(*command)
    found = json_of("absurd_health")
    assert found.pop("checked_at")
    assert found == {
        "status": "healthy",
        "message": "Absurd is operational",
        "queue": "dsa110-pipeline",
        "reasons": [],
    }
    assert len(json_of("absurd_health", "--full")["checks"]) > 10


def test_health_exits_with_5_when_nobody_serves_tasks_or_absurd_is_disabled(settings, capsys):
    spawn_note()
    ends_with(5, "absurd_health")
    make_worker()
    settings.ABSURD_ENABLED = False
    ends_with(5, "absurd_health", "--json")


def test_stats_count_by_status_and_watch_goes_on(worker, live_environment):
    spawn_note(), failed_note(), spawn_note(queue_name="other")
    heading, *rows = output_of("absurd_stats").splitlines()[1:-1]
    assert heading.split()[:3] == ["QUEUE", "PENDING", "CLAIMED"]
    assert [row.split()[:2] for row in rows] == [["dsa110-pipeline", "1"], ["other", "1"]]
    (queue,) = json_of("absurd_stats", "--queue", "other")["queues"]
    assert (queue["pending"], queue["total"]) == (1, 1)
    assert refused("absurd_stats", "--queue", "third")[0] == 3


def test_the_monitor_writes_the_guides_four_lines(worker):
    spawn_note(), spawn_note(priority=20)
    claim_one(worker)
    make_worker(label="silent", heartbeat_at=clock.now() - timedelta(seconds=60))
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"
    output = output_of("absurd_monitor", "--queue-name", "dsa110-pipeline", "--interval", 30, "--once")
    assert re.fullmatch(
        rf"{stamp} Queue Health: degraded\n"
        rf"{stamp} Throughput: \d+\.\d tasks/sec\n"
        rf"{stamp} Queue Depth: 1 tasks\n"
        rf"{stamp} Workers: 1/2 active\n",
        output,
    )
    reading = json_of("absurd_monitor", "--once")
    assert (reading["depth"], reading["workers_up"], reading["workers_known"]) == (1, 1, 2)
    assert reading["at"].endswith("Z")


@pytest.mark.django_db(transaction=True)
def test_the_monitor_goes_on_while_the_database_is_down(live_environment, tmp_path):
    nobody = {**live_environment, "ABSURD_DATABASE_URL": f"postgresql://postgres@:5432/absurd?host={tmp_path}"}
    done = run(nobody, "absurd_monitor", "--once")
    assert done.returncode == 5
    assert "Queue Health: unhealthy (Database unavailable" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.django_db(transaction=True)
def test_without_a_database_a_command_reports_it_in_a_line_and_exits_with_75(live_environment, tmp_path):
    nobody = {**live_environment, "ABSURD_DATABASE_URL": f"postgresql://postgres@:5432/absurd?host={tmp_path}"}
    for arguments in (["absurd_tasks", "list", "--created-after", "2h"], ["absurd_stats"]):
        done = run(nobody, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (75, False), done.stderr
        assert "the database does not answer" in done.stderr.splitlines()[-1]
    assert run(nobody, "absurd_health").returncode == 5


def test_workers_are_listed_shown_and_shown_what_to_do():
    first, second = make_worker(label="worker-1"), make_worker(label="worker-2", queues=["other"])
    make_worker(label="old", stopped_at=clock.now())
    spawn_note()
    task = claim_one(first)
    assert [line.split()[:2] for line in output_of("absurd_workers", "list").splitlines()[1:]] == [
        ["worker-1", "active"],
        ["worker-2", "idle"],
        ["old", "stopped"],
    ]
    assert [each["worker_id"] for each in json_of("absurd_workers", "list", "--queue", "other")["workers"]] == [
        "worker-2"
    ]
    assert f"runs note {task.task_id}" in output_of("absurd_workers", "show", "worker-1")
    assert "ordered to pause" in output_of("absurd_workers", "pause", "worker-1", "--reason", "disk is slow")
    first.refresh_from_db()
    assert (first.ordered, first.order_reason) == ("pause", "disk is slow")
    assert "disk is slow" in output_of("absurd_workers", "show", str(first.pk)[:8])
    assert json_of("absurd_workers", "resume", "--all", "--yes")["refused"] == []
    first.refresh_from_db()
    assert first.ordered == ""
    assert len(json_of("absurd_workers", "drain", "--queue", "other", "--dry-run", "--reason", "x")["done"]) == 1
    second.refresh_from_db()
    assert second.ordered == ""


def test_what_workers_cannot_do_has_an_exit_code():
    make_worker(label="old", stopped_at=clock.now())
    for _ in range(2):
        make_worker(label="twin")
    assert refused("absurd_workers", "show", "nobody")[0] == 3
    assert refused("absurd_workers", "recycle", "old")[0] == 4
    assert refused("absurd_workers", "recycle", "twin")[0] == 2
    assert refused("absurd_workers", "recycle")[0] == 2


def test_spawn_reads_values_as_what_the_params_take():
    output_of("absurd_spawn", "note", "text=42", "copies=3", "--priority", 15, "--queue", "other")
    task = Task.objects.get()
    assert (task.params, task.priority, task.queue_id) == ({"text": "42", "copies": 3}, 15, "other")
    assert task.created_by.startswith("cli:")


ODD = {
    "spaces": "a b  c",
    "quotes": """it's "so" \\ `x` $HOME""",
    "equals": "a=b==",
    "lines": "first\nsecond\ttab",
    "unicode": "π ≈ 3.14159 µJy ⊙",
    "empty": "",
    "json": '{"a": [1, 2]}',
    "option": "--yes",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_are_stored_as_they_are_written(name):
    output_of("absurd_spawn", "note", f"text={ODD[name]}")
    assert Task.objects.get().params == {"text": ODD[name]}


@pytest.mark.django_db(transaction=True)
def test_odd_texts_come_through_a_shell_and_its_pipes(live_environment):
    line = f"{sys.executable} manage.py absurd_spawn echo {shlex.quote('value:=' + json.dumps(ODD))}"
    written = f"printf '%s' {shlex.quote(json.dumps({'value': ODD}))}"
    pipe = f"{written} | {sys.executable} manage.py absurd_spawn echo --params @-"
    environment = {**live_environment, "ABSURD_DIAGNOSTICS": "true"}
    for command in (line, pipe):
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert Task.objects.get(task_id=done.stdout.strip()).params == {"value": ODD}


@pytest.mark.parametrize(
    "arguments",
    [
        ["note", "text"],
        ["note", "=a"],
        ["note", "text:=a"],
        ["note", "--params", "[1]"],
        ["note", "--params", "{"],
        ["note", "--params", "@/nowhere"],
        ["note", "text=a", "copies=10"],
        ["note"],
        ["nite", "text=a"],
        ["note", "text=a", "--timeout", "3"],
    ],
    ids=str,
)
def test_params_that_do_not_fit_are_exit_code_2(arguments):
    assert refused("absurd_spawn", *arguments)[0] == 2
    assert not Task.objects.exists()


def test_spawn_can_be_tried_without_spawning():
    output = json_of("absurd_spawn", "note", "text=a", "--dry-run", "--depends-on", spawn_note().task_id)
    assert (output["dry_run"], output["display_status"], Task.objects.count()) == (True, "waiting", 1)
    assert refused("absurd_spawn", "note", "--dry-run")[0] == 2


def test_spawn_has_to_try_later_while_absurd_is_disabled(settings):
    settings.ABSURD_ENABLED = False
    assert refused("absurd_spawn", "note", "text=a")[0] == 75


def test_an_idempotency_key_finds_the_first_task_and_refuses_other_content():
    first = output_of("absurd_spawn", "note", "text=a", "--idempotency-key", "tile-7")
    assert output_of("absurd_spawn", "note", "text=a", "--idempotency-key", "tile-7") == first
    assert refused("absurd_spawn", "note", "text=b", "--idempotency-key", "tile-7")[0] == 4


def test_waiting_no_longer_than_asked_leaves_the_task_alone():
    code, message = refused("absurd_spawn", "note", "text=a", "--wait", "--timeout", 0)
    assert (code, "still pending" in message) == (75, True)
    assert Task.objects.get().status == "pending"


def test_the_emergency_stop_shows_what_it_will_do_and_does_no_more(worker, monkeypatch):
    spawn_note(), spawn_note(priority=20)
    claim_one(worker)
    plan = output_of("absurd_emergency_stop", "--reason", "disk is full", "--dry-run")
    for part in ("1. FREEZE", "2. LET 1 running task finish", "3. KEEP 1 pending task", "4. LEAVE 1 worker running"):
        assert part in plan, part
    assert current_freeze() is None
    asked = types(monkeypatch, "y")
    assert refused("absurd_emergency_stop", "--reason", "disk is full") == (1, "nothing was done")
    assert "Type STOP" in asked[0] and current_freeze() is None
    types(monkeypatch, "STOP")
    assert output_of("absurd_emergency_stop", "--reason", "disk is full").endswith("everything is frozen\n")
    assert (current_freeze().reason, Task.objects.filter(status="cancelled").count()) == ("disk is full", 0)
    assert claim_tasks(worker, limit=1) == []
    event = TaskEvent.objects.get(event_type="emergency_stop")
    assert event.actor.startswith("cli:") and event.reason == "disk is full"


def test_pressed_again_it_stops_more_and_the_recovery_brings_back_what_it_took(worker):
    earlier = make_task("note", {"text": "cancelled before"}, status="cancelled")
    waiting, running = spawn_note(), spawn_note(priority=20)
    claim = claim_one(worker)
    output_of("absurd_emergency_stop", "--reason", "disk is full", "--yes")
    done = json_of(
        "absurd_emergency_stop", "--reason", "still", "--stop-running", "--cancel-pending", "--drain-workers", "--yes"
    )["counts"]
    assert (done["pending"], done["running"], done["workers"], done["refused"]) == (1, 1, 1, 0)
    assert Worker.objects.get().ordered == "drain"
    fail_attempt(claim, "cancelled", "stopped", REPORT)
    running.refresh_from_db()
    assert running.status == "cancelled"
    plan = output_of("absurd_emergency_recover", "--retry-cancelled", "--dry-run")
    assert "RETRY 2 tasks that the emergency stop cancelled" in plan and "disk is full" in plan
    output = json_of("absurd_emergency_recover", "--retry-cancelled", "--yes", "--reason", "disk replaced")["counts"]
    assert (output["cancelled"], output["thawed"], output["refused"]) == (2, True, 0)
    for task, status in ((waiting, "pending"), (running, "pending"), (earlier, "cancelled")):
        task.refresh_from_db()
        assert task.status == status
    assert not Freeze.objects.exists()
    assert TaskEvent.objects.get(event_type="emergency_recovery").reason == "disk replaced"


def test_the_recovery_retries_failed_tasks_by_condition_and_resumes_paused_workers():
    worker = make_worker()
    output_of("absurd_workers", "pause", worker.label, "--reason", "stop")
    mine, other = failed_note(), failed_note(queue_name="other")
    output = json_of("absurd_emergency_recover", "--retry-failed", "--queue", "other", "--yes")["counts"]
    assert (output["failed"], output["workers"], output["thawed"]) == (1, 1, False)
    other.refresh_from_db(), mine.refresh_from_db(), worker.refresh_from_db()
    assert (other.status, other.retry_count, mine.status, worker.ordered) == ("pending", 0, "failed", "")


def test_the_emergency_commands_need_a_yes_and_a_purpose(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("STOP\n"))
    assert refused("absurd_emergency_stop", "--reason", "disk is full")[0] == 2
    assert refused("absurd_emergency_stop", "--reason", " ", "--yes")[0] == 2
    assert refused("absurd_emergency_recover", "--queue", "other", "--yes")[0] == 2
    assert refused("absurd_emergency_recover", "--retry-cancelled", "--yes")[0] == 2
    assert current_freeze() is None
