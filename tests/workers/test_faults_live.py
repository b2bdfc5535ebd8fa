"""Workers told to stop, and racing for tasks: none is lost, none is run twice. Faults are in `tests/chaos/`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import Task, Worker
from tests.workers.live import (
    ROOT,
    child_of,
    event_types,
    finished,
    gone,
    outcomes,
    spawn_one,
    wait_for,
    with_progress,
)

pytestmark = pytest.mark.chaos


def test_told_once_to_stop_it_drains_and_told_twice_it_returns_tasks_free_of_charge(workers):
    worker = workers.start("--concurrency", "2")
    short, long = spawn_one("sleep", {"seconds": 8, "steps": 2}), spawn_one("hang-in-c")
    child = child_of(long)
    with_progress(short), with_progress(long)
    waiting = spawn_one("echo")
    worker.send_signal(signal.SIGTERM)
    assert finished(short).status == "completed"
    time.sleep(0.5)
    waiting.refresh_from_db()
    assert (waiting.status, worker.poll()) == ("pending", None)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(60) == 0
    long.refresh_from_db()
    assert gone(child.pid)
    assert (long.status, long.retry_count, outcomes(long)) == ("pending", 0, ["drained"])
    assert event_types(long.task_id)[-1] == "returned"
    assert Worker.objects.get().stopped_at is not None


def test_after_the_drain_timeout_attempts_are_stopped_and_returned(workers):
    task = spawn_one("sleep", {"seconds": 60})
    worker = workers.start("--drain-timeout", "0.5")
    with_progress(task)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    task.refresh_from_db()
    assert (task.status, task.retry_count, outcomes(task)) == ("pending", 0, ["drained"])


def test_a_stopped_guardian_ends_with_its_worker(workers):
    task = spawn_one("sleep", {"seconds": 300})
    worker = workers.start()
    child = child_of(task)
    guardian = child.parent()
    guardian.suspend()
    worker.kill()
    wait_for(lambda: gone(child.pid) and gone(guardian.pid))


RACE = """
import os, sys, django; django.setup()
from django.db import connection
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport
from tasks_app.models import Worker
from pathlib import Path
from workers.admission import Admission
for number in range(4):
    if os.fork() == 0:
        worker = Worker(label=f"racer-{number}", host="h", host_id=f"host-{number % 2}", pid=os.getpid())
        worker.queues, worker.concurrency, worker.memory_gb = ["dsa110-pipeline"], 4, 1e6
        worker.save()
        report = AttemptReport()
        admission = Admission(Path("."))
        while claims := admission.claim(worker, slots=3):
            for claim in claims:
                complete_task(claim, {"racer": number}, report)
        os._exit(0)
codes = [os.wait()[1] for _ in range(4)]
sys.exit(max(codes) != 0)
"""


def test_four_processes_claim_two_hundred_tasks_each_exactly_once(live_environment):
    tasks = spawn_many([TaskOptions(task_name="echo")] * 200, actor="user:test")
    environment = live_environment | {"DJANGO_SETTINGS_MODULE": "absurd_project.settings", "ABSURD_LOG_LEVEL": "ERROR"}
    subprocess.run([sys.executable, "-c", RACE], cwd=ROOT, env=environment, check=True, timeout=120)
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks])
    assert set(stored.values_list("status", "claim_epoch")) == {("completed", 1)}
    assert len({racer["racer"] for racer in stored.values_list("result", flat=True)}) > 1
