"""Faults that keep the system degraded until they are repaired or acknowledged."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from tasks_app.engine.fail import fail_attempt
from tasks_app.maintenance import sweeper
from tasks_app.models import Acknowledgement, Task, Worker
from tasks_app.models.querysets import short_id
from tasks_app.monitoring import health
from tasks_app.operations.tasks import retry
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, log_in, make_key
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note
from tests.tasks_app.workflows.run_plans import begin, claim_all, linear

SILENT = timedelta(seconds=45)
"""Longer than three heartbeats, shorter than the lease of 60 s."""


def look(name: str) -> health.Check:
    (found,) = [check for check in health.examine().checks if check.name == name]
    return found


def silence(worker: Worker, by: timedelta = SILENT) -> None:
    moment = clock.now() - by
    Worker.objects.filter(pk=worker.pk).update(heartbeat_at=moment, started_at=moment - timedelta(seconds=1))


@pytest.mark.django_db
def test_one_lost_worker_of_many_is_named_within_a_lease_with_what_was_given_back(worker):
    others = [make_worker(label=f"worker-{n}") for n in range(2, 6)]
    spawn_note(), spawn_note()
    lost = others[0]
    claim_one(lost), claim_one(lost)
    silence(lost)
    found = look("lost workers")
    assert found.state == "warn"
    assert f"worker-2@{lost.host} (pid {lost.pid}) has not reported since" in found.message.replace("Worker w", "w")
    assert "returned to the queue: 0 tasks, still claimed: 2" in found.message
    assert health.examine().status == "degraded"
    Task.objects.update(lease_until=clock.now() - timedelta(seconds=1), lease_sec=1)
    assert sweeper.return_lost(watched_sec=60) == 2
    assert "returned to the queue: 2 tasks" in look("lost workers").message


@pytest.mark.django_db
def test_a_lost_worker_counts_until_it_is_back(worker):
    lost = make_worker(label="worker-2")
    silence(lost)
    assert look("lost workers").state == "warn"
    make_worker(label="worker-3")
    assert look("lost workers").state == "warn"
    make_worker(label="worker-2")
    assert look("lost workers").state == "ok"


@pytest.mark.django_db
def test_a_lost_worker_without_a_label_of_its_own_is_replaced_by_a_later_one_on_its_host(worker):
    lost = make_worker(label="node-7-4711", host="node-7", pid=4711)
    silence(lost)
    make_worker(label="node-8-1", host="node-8", pid=1)
    assert look("lost workers").state == "warn"
    make_worker(label="node-7-4712", host="node-7", pid=4712)
    assert look("lost workers").state == "ok"


@pytest.mark.django_db
def test_an_acknowledgement_covers_what_happened_before_it_and_nothing_later(worker):
    silence(make_worker(label="worker-2"))
    call_command("absurd_acknowledge", "lost-workers", "--reason", "host is being replaced")
    assert (look("lost workers").state, health.examine().status) == ("ok", "healthy")
    assert "are acknowledged" in look("lost workers").message
    seen = Acknowledgement.objects.get()
    assert (seen.finding, seen.reason) == ("lost workers", "host is being replaced")
    Acknowledgement.objects.update(acknowledged_at=clock.now() - timedelta(minutes=2))
    assert look("lost workers").state == "warn"


@pytest.mark.django_db
def test_the_api_acknowledges_for_operators_only(worker):
    silence(make_worker(label="worker-2"))
    body = {"finding": "lost-workers", "reason": "known"}
    assert log_in("ann", "Viewer").post("health/acknowledge", body).status_code == 403
    assert Caller(make_key("operate")).post("health/acknowledge", {"finding": "disk"}).status_code == 422
    answer = Caller(make_key("operate")).post("health/acknowledge", body)
    assert (answer.status_code, answer.body["finding"]) == (200, "lost workers")
    assert look("lost workers").state == "ok"


@pytest.mark.django_db
def test_the_command_refuses_a_finding_that_cannot_be_acknowledged():
    with pytest.raises((CommandError, SystemExit)):
        call_command("absurd_acknowledge", "disk")


@pytest.mark.django_db
def test_a_worker_that_dies_again_and_again_is_a_crash_loop_although_it_is_back(worker):
    for n in range(3):
        silence(make_worker(label="worker-2"), by=SILENT * (n + 1))
    make_worker(label="worker-2")
    assert look("lost workers").state == "ok"
    found = look("crash loops")
    assert found.state == "warn"
    assert "orker-2 on" in found.message and "has crashed 3 times within 15 min" in found.message


@pytest.mark.django_db
def test_failures_of_the_last_hour_are_counted_by_cause(worker):
    for n in range(3):
        assert look("failures").state == "ok", n
        spawn_note()
        fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    found = look("failures")
    assert (found.state, found.value, found.threshold) == ("warn", 3, 2)
    assert found.message == "3 tasks failed within the last hour: 3 note (invalid)"
    Task.objects.update(completed_at=clock.now() - timedelta(minutes=61))
    assert look("failures").state == "ok"


@pytest.mark.django_db
def test_a_quarantined_task_is_named_until_it_is_retried(worker):
    task = spawn_note()
    for _ in range(3):
        Task.objects.filter(status="pending").update(hold=0, runnable_at=clock.now())
        fail_attempt(claim_one(worker), "killed", "SIGSEGV", REPORT)
    found = look("quarantine")
    assert (found.state, short_id(task.task_id) in found.message) == ("warn", True)
    assert look("failures").value == 0
    retry(task.task_id, actor="user:test")
    assert look("quarantine").state == "ok"


@pytest.mark.django_db
def test_a_stalled_run_is_named_with_its_obstacle_until_what_failed_is_retried(worker):
    run = begin(linear(max_retries=0))
    claims = claim_all(worker)
    assert look("stalled runs").state == "ok"
    fail_attempt(claims["convert"], "error", "no calibrator", REPORT)
    found = look("stalled runs")
    assert (found.state, found.value) == ("warn", 1)
    assert "un tile is stalled" in found.message and "no calibrator" in found.message
    retry(Task.objects.get(run=run, stage="convert").task_id, actor="user:test")
    assert look("stalled runs").state == "ok"
