"""Workers that are stopped: by a signal to one process or to all of them, once or twice, or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import Task, Worker
from tests.workers.live import (
    ROOT,
    attempts,
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


def charged(task) -> tuple[str, int, int]:
    task.refresh_from_db()
    return task.status, task.retry_count, task.crash_count


@pytest.mark.parametrize("first", ["worker", "children"])
def test_sigterm_to_every_process_returns_the_tasks_free_of_charge(workers, first):
    worker, task = workers.running()
    child = child_of(task)
    descendants = psutil.Process(worker.pid).children(recursive=True)
    everyone = [psutil.Process(worker.pid), *descendants]
    for process in everyone if first == "worker" else reversed(everyone):
        if process.pid == worker.pid and first == "children":
            wait_for(lambda: gone(child.pid))
        process.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert (charged(task), outcomes(task)) == (("pending", 0, 0), ["drained"])
    assert attempts(task)[0].error.startswith("a stop signal ended it with its worker")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_sighup_and_sigint_to_every_process_let_the_attempts_finish(workers, number):
    worker, task = workers.running("--concurrency", "1", task=("sleep", {"seconds": 4}))
    later = spawn_one("echo")
    for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
        process.send_signal(number)
    assert worker.wait(60) == 0
    assert (finished(task).status, outcomes(task)) == ("completed", ["completed"])
    assert charged(later) == ("pending", 0, 0)


def test_sigterm_to_a_child_alone_is_a_kill(workers):
    worker, task = workers.running(max_retries=0)
    child_of(task).send_signal(signal.SIGTERM)
    assert (finished(task).failure_class, task.crash_count) == ("killed", 1)
    assert task.error == "killed by SIGTERM, by a process outside the queue"
    assert worker.poll() is None


def test_one_order_sent_twice_at_once_is_still_a_drain(workers):
    worker, task = workers.running(task=("sleep", {"seconds": 4}))
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
        worker.send_signal(number)
    assert worker.wait(60) == 0
    assert outcomes(task) == ["completed"]


def test_a_worker_killed_after_a_stop_signal_charges_nothing(workers):
    """What `docker stop` does after ten seconds, while the attempts still have their drain timeout."""
    worker, task = workers.running()
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: Worker.objects.exclude(stop_signal_at=None).exists())
    worker.kill()
    workers.start()  # whose sweep finds the lease expired
    wait_for(lambda: outcomes(task)[0])
    assert outcomes(task)[0] == "drained"
    assert charged(task)[1:] in ((0, 0), (0, 1))  # the claim that runs now counts as a crash until it ends otherwise


def test_the_first_signal_drains_and_the_second_returns_tasks_free_of_charge(workers):
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
    worker, task = workers.running("--drain-timeout", "0.5")
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
