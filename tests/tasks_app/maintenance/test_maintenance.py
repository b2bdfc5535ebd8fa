from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from tasks_app.engine.complete import complete_task
from tasks_app.maintenance import sweeper
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.models import Hold, Task
from tasks_app.postgresql import clock
from tasks_app.testing import frozen_clock
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db


def test_a_hold_that_outlived_its_reason_is_released(worker):
    parent = spawn_note()
    child = spawn_note(depends_on=[parent.task_id])
    complete_task(claim_one(worker), {}, REPORT)
    Task.objects.filter(pk=child.pk).update(hold=Hold.DEPENDENCY)
    Sweeper().sweep()
    child.refresh_from_db()
    assert child.hold == 0
    assert event_types(child) == ["spawned", "released", "released"]


def test_a_hold_with_a_reason_stays(worker):
    child = spawn_note(depends_on=[spawn_note().task_id])
    Sweeper().sweep()
    child.refresh_from_db()
    assert child.display_status == "waiting"


def test_a_due_task_becomes_claimable_and_an_overdue_one_fails():
    with frozen_clock() as frozen:
        due = spawn_note(scheduled_at=frozen.now + timedelta(hours=1))
        overdue = spawn_note(expires_at=frozen.now + timedelta(hours=1))
        frozen.tick(3600)
        Sweeper().sweep()
    for task in (due, overdue):
        task.refresh_from_db()
    assert (due.status, due.hold) == ("pending", 0)
    assert (overdue.status, overdue.failure_class) == ("failed", "timeout")


def sweep_until_lost(sweeper: Sweeper, task: Task, patience_sec: float = 60) -> None:
    deadline = time.monotonic() + patience_sec
    while Task.objects.get(pk=task.pk).failure_class != "lost":
        assert time.monotonic() < deadline
        time.sleep(0.2)
        sweeper.sweep()


def test_an_outage_starts_the_watch_over_leases_anew(worker, caplog):
    caplog.set_level("INFO", "tasks_app.maintenance.sweeper")
    task = spawn_note()
    claim_one(worker)
    sweeper = Sweeper()
    sweeper.sweep()
    time.sleep(1.2)
    Task.objects.filter(pk=task.pk).update(lease_sec=1, lease_until=clock.now() - timedelta(seconds=1))
    with pytest.raises(DatabaseError), transaction.atomic():
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        sweeper.sweep()
    sweeper.sweep()
    assert Task.objects.get(pk=task.pk).status == "claimed"
    sweep_until_lost(sweeper, task)
    assert caplog.text.count("sweeps have started") == 2


def test_a_database_that_hung_starts_the_watch_over_short_leases_anew(worker):
    task, long = spawn_note(), spawn_note()
    claim_one(worker), claim_one(worker)
    sweeper = Sweeper()
    sweeper.sweep()
    time.sleep(1.2)  # as a process sees it that hangs in a query for so long
    expired = clock.now() - timedelta(seconds=1)
    Task.objects.filter(pk=task.pk).update(lease_sec=1, lease_until=expired)
    sweeper.sweep()
    assert Task.objects.get(pk=task.pk).status == "claimed"
    sweep_until_lost(sweeper, task)
    assert Task.objects.get(pk=long.pk).status == "claimed"


def test_a_database_that_hangs_while_leases_are_looked_at_costs_none(worker):
    task = spawn_note()
    claim_one(worker)
    now = clock.now()
    Task.objects.filter(pk=task.pk).update(lease_sec=10, lease_until=now - timedelta(seconds=1))
    assert sweeper.return_lost(watched_sec=60, seen_at=now - timedelta(seconds=5.5)) == 0
    assert sweeper.return_lost(watched_sec=60, doubted_sec=11) == 0
    assert sweeper.return_lost(watched_sec=60, doubted_sec=9, seen_at=now - timedelta(seconds=3)) == 1
