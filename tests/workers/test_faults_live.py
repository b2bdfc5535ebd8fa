"""Workers and children killed, stopped and drained: no task is lost, none ends twice, nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from absurd_project import embedded
from tasks_app.actions.cancel import cancel
from tasks_app.actions.spawn import SpawnRequest, spawn_many
from tasks_app.models import Task, Worker
from tests.workers.live import (
    QUICK,
    ROOT,
    attempts,
    child_of,
    finished,
    gone,
    outcomes,
    spawn_one,
    verbs,
    wait_for,
    with_progress,
)

pytestmark = pytest.mark.chaos


def both_alive() -> bool:
    return Worker.objects.count() == 2


def test_a_worker_killed_in_the_middle_leaves_no_process_and_another_finishes_its_task(workers):
    workers.start(), workers.start()
    wait_for(both_alive)
    task = spawn_one("sleep", {"seconds": 2})
    child = child_of(task)
    guardian = child.parent()
    guardian.parent().kill()
    wait_for(lambda: gone(child.pid) and gone(guardian.pid), 2.0)
    task.refresh_from_db()
    lease_until = task.lease_until
    assert finished(task).status == "completed"
    assert outcomes(task) == ["lost", "completed"]
    assert task.retry_count == 1
    assert (attempts(task)[0].ended_at - lease_until).total_seconds() < 2.0


def test_a_worker_that_wakes_up_late_is_refused_and_its_product_removed(workers):
    workers.start(), workers.start()
    wait_for(both_alive)
    task = spawn_one("echo", {"value": 1, "outputs": {"image.fits": "pixels"}, "then_sleep_sec": 1.5})
    child = child_of(task)
    first_dir = Path(attempts(task)[0].directory)
    late = child.parent().parent()
    late.suspend()
    (path,) = finished(task).result["paths"]
    wait_for(lambda: gone(child.pid))
    late.resume()
    wait_for(lambda: "refused" in verbs(task.task_id) and not first_dir.exists())
    task.refresh_from_db()
    assert outcomes(task) == ["lost", "completed"]
    assert task.result["paths"] == [path] and Path(path).read_text() == "pixels"
    assert [directory.name for directory in (workers.data / "echo").iterdir()] == [Path(path).parent.name]


def test_nobody_is_left_behind_by_a_cancel_or_by_a_killed_guardian(workers):
    workers.start("--concurrency", "2")
    cancelled, orphaned = spawn_one("spawn-orphan"), spawn_one("spawn-orphan", max_retries=0)
    orphans = [int(with_progress(task).progress_message.split()[1]) for task in (cancelled, orphaned)]
    children = [child_of(task) for task in (cancelled, orphaned)]
    cancel(cancelled.task_id, actor="user:test", reason="wrong tile")
    children[1].parent().kill()
    assert finished(cancelled).status == "cancelled"
    assert finished(orphaned).failure_class == "killed"
    wait_for(lambda: all(gone(pid) for pid in [*orphans, *(child.pid for child in children)]), 2.0)
    assert verbs(cancelled.task_id)[-2:] == ["cancel_requested", "cancelled"]
    assert outcomes(cancelled) == ["cancelled"]


def test_told_once_to_stop_it_drains_and_told_twice_it_returns_tasks_free_of_charge(workers):
    worker = workers.start("--concurrency", "2")
    short, long = spawn_one("sleep", {"seconds": 3, "steps": 2}), spawn_one("hang-in-c")
    child = child_of(long)
    with_progress(short), with_progress(long)
    waiting = spawn_one("echo")
    worker.send_signal(signal.SIGTERM)
    assert finished(short).status == "completed"
    time.sleep(0.5)
    waiting.refresh_from_db()
    assert (waiting.status, worker.poll()) == ("pending", None)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0
    long.refresh_from_db()
    assert gone(child.pid)
    assert (long.status, long.retry_count, outcomes(long)) == ("pending", 0, ["drained"])
    assert verbs(long.task_id)[-1] == "returned"
    assert Worker.objects.get().stopped_at is not None


def test_after_the_drain_timeout_attempts_are_stopped_and_returned(workers):
    task = spawn_one("sleep", {"seconds": 60})
    worker = workers.start("--drain-timeout", "0.5")
    with_progress(task)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    task.refresh_from_db()
    assert (task.status, task.retry_count, outcomes(task)) == ("pending", 0, ["drained"])


PREPARE = """
import django; django.setup()
from django.core.management import call_command
from tasks_app.actions.spawn import SpawnRequest, spawn
call_command("migrate", verbosity=0)
spawn(SpawnRequest(task_name="sleep", params={"seconds": 3}), actor="user:test")
"""


def test_an_outage_longer_than_the_lease_costs_no_attempt(private_servers, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ABSURD_")} | QUICK
    environment |= {"ABSURD_VAR": str(private_servers), "ABSURD_ENABLED": "true"}
    django = environment | {"DJANGO_SETTINGS_MODULE": "absurd_project.settings"}
    subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=django, check=True)
    log_path = tmp_path / "worker.log"
    with log_path.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "runworker", "--burst"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: "attempt started" in log_path.read_text())
        embedded.stop(private_servers)
        wait_for(lambda: "attempt ended" in log_path.read_text())
        embedded.ensure(private_servers)
        assert worker.wait(30) == 0, log_path.read_text()
    finally:
        worker.kill()
        worker.wait()
    told = log_path.read_text()
    assert "database lost" in told and "database is back" in told
    with psycopg.connect(embedded.database_url(private_servers)) as connection:
        assert one(connection, "SELECT status, retry_count FROM tasks_app_task") == ("completed", 0)
        assert one(connection, "SELECT array_agg(outcome::text) FROM tasks_app_attempt") == (["completed"],)


def one(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row


RACE = """
import os, sys, django; django.setup()
from django.db import connection
from tasks_app import claiming
from tasks_app.models import Worker
from pathlib import Path
from workers.admission import Admission
from workers.weights import Shares
for number in range(4):
    if os.fork() == 0:
        worker = Worker(label=f"racer-{number}", host="h", host_id=f"host-{number % 2}", pid=os.getpid())
        worker.queues, worker.concurrency, worker.memory_gb = ["dsa110-pipeline"], 4, 1e6
        worker.save()
        report = claiming.AttemptReport()
        admission = Admission(Shares({"dsa110-pipeline": 1}), Path("."))
        while claims := admission.claim(worker, slots=3):
            for claim in claims:
                claiming.complete(claim, {"racer": number}, report)
        os._exit(0)
codes = [os.wait()[1] for _ in range(4)]
sys.exit(max(codes) != 0)
"""


def test_four_processes_claim_two_hundred_tasks_each_exactly_once(live_environment):
    tasks = spawn_many([SpawnRequest(task_name="echo")] * 200, actor="user:test")
    environment = live_environment | {"DJANGO_SETTINGS_MODULE": "absurd_project.settings", "ABSURD_LOG_LEVEL": "ERROR"}
    subprocess.run([sys.executable, "-c", RACE], cwd=ROOT, env=environment, check=True, timeout=120)
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks])
    assert set(stored.values_list("status", "claim_epoch")) == {("completed", 1)}
    assert len({racer["racer"] for racer in stored.values_list("result", flat=True)}) > 1
