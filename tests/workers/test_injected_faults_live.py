"""Each error class of PostgreSQL, at each point where a worker sends a statement: nothing lost, nothing charged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_app.models import Attempt, Task, Worker
from tasks_app.operations.tasks import cancel
from tests.fault_injection import CLASSES
from tests.workers.live import ROOT, LiveWorkers, finished, outcomes, spawn_one, wait_for

FEW = ("25006", "40001", "42703", "terminated")
ROUNDS_MOST = 400


def start(workers: LiveWorkers, account: Path, classes: tuple[str, ...], calm: int) -> subprocess.Popen[bytes]:
    options = ["runworker", "--worker-id", "faulty", "--concurrency", "6", "--drain-timeout", "60"]
    argv = [sys.executable, "-m", "tests.faulty_command", str(account), ",".join(classes), str(calm), *options]
    # Its leases must outlast the pauses between tries, which are what outages cost.
    environment = workers.environment | {"ABSURD_LEASE_SEC": "60"}
    with workers.log_of("faulty").open("wb") as log:
        worker = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    workers.started.append(worker)
    return worker


def one_of_each() -> dict[str, Task]:
    """Spawn tasks whose attempts send every kind of statement that a worker has."""
    parent = spawn_one("thread-echo")
    return {
        "thread": parent,
        "child": spawn_one("thread-echo", depends_on=[parent.task_id]),
        "process": spawn_one("sleep", {"seconds": 2, "steps": 4}),
        "limited": spawn_one("noop", concurrency_key="instrument"),
        "fails": spawn_one("thread-fail", max_retries=0),
        "cancelled": spawn_one("sleep", {"seconds": 600}),
    }


EXPECTED = {
    "thread": ("completed", ["completed"]),
    "child": ("completed", ["completed"]),
    "process": ("completed", ["completed"]),
    "limited": ("completed", ["completed"]),
    "fails": ("failed", ["error"]),
    "cancelled": ("cancelled", ["cancelled"]),
}


def settle(tasks: dict[str, Task]) -> None:
    """Wait until all have ended, and see that each ended as it should, at its first attempt that was not given back."""
    wait_for(lambda: Task.objects.get(pk=tasks["cancelled"].pk).progress_message, timeout_sec=240)
    cancel(tasks["cancelled"].task_id, actor="user:test", reason="enough")
    for name, task in tasks.items():
        status, wanted = EXPECTED[name]
        assert finished(task, timeout_sec=240).status == status, (name, task.error)
        # An attempt whose claim's answer was lost with the connection is given back unstarted, at no charge.
        assert [outcome for outcome in outcomes(task) if outcome != "drained"] == wanted, name
        assert task.retry_count == 0, name


def play(workers: LiveWorkers, account: Path, classes: tuple[str, ...], *, calm: int, rounds: int) -> dict[str, int]:
    worker = start(workers, account, classes, calm)
    known, counted = -1, {"outstanding": 1}
    for _ in range(rounds):
        settle(one_of_each())
        assert worker.poll() is None, workers.logs()[-5000:]
        counted = json.loads(account.read_text()) if account.exists() else counted
        if not counted["outstanding"] and len(counted["points"]) == known:
            break
        known = len(counted.get("points", ()))
    worker.terminate()
    assert worker.wait(120) == 0, workers.logs()[-5000:]
    assert Worker.objects.get().stopped_at is not None
    assert not Attempt.objects.filter(ended_at=None).exists()
    assert not Task.objects.exclude(status__in=["completed", "failed", "cancelled"]).exists()
    return counted


@pytest.fixture(autouse=True)
def leases_outlast_faults(settings):
    settings.ABSURD_LEASE_SEC = 60


def test_a_worker_outlives_faults_at_its_statements(workers, tmp_path):
    counted = play(workers, tmp_path / "account.json", FEW, calm=40, rounds=2)
    assert counted["injected"] > 20


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_worker_outlives_each_fault_at_each_statement(workers, tmp_path):
    counted = play(workers, tmp_path / "account.json", CLASSES, calm=40, rounds=ROUNDS_MOST)
    assert counted["injected"] > 20 * len(CLASSES)
    assert counted["outstanding"] == 0, counted
