"""Tasks whose host lacked something: they cost nothing and go to another host first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks_app.engine import fail
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.models import Task
from tasks_app.testing import frozen_clock
from tests.tasks_app.monitoring.explain.explained import blocking, finding
from tests.tasks_app.notes import REPORT, claim_one, event_types, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def lack(task: Task, worker) -> None:
    claim = claim_one(worker)
    assert claim.task_id == task.task_id
    fail_attempt(claim, "unavailable", "data root /data is not mounted", REPORT)
    task.refresh_from_db()


def test_it_costs_nothing_and_another_host_may_have_it_at_once():
    task, here, there = spawn_note(max_retries=0), make_worker(host_id="a"), make_worker(host_id="b")
    lack(task, here)
    assert (task.status, task.retry_count, task.crash_count, task.failure_class) == ("pending", 0, 0, "unavailable")
    assert event_types(task)[-1] == "returned"
    assert claim_tasks(here, limit=1) == []
    assert claim_one(there).task_id == task.task_id


def test_the_same_host_tries_again_after_a_time_that_grows():
    task, here = spawn_note(), make_worker(host_id="a")
    with frozen_clock() as frozen:
        for wait_sec in (15, 30, 60):
            lack(task, here)
            frozen.tick(wait_sec - 1)
            assert claim_tasks(here, limit=1) == []
            frozen.tick(1)
        assert len(claim_tasks(here, limit=1)) == 1


def test_a_host_that_has_changed_tries_again_at_once():
    task, here = spawn_note(), make_worker(host_id="a")
    lack(task, here)
    assert fail.forget_unavailable("b") == 0
    assert fail.forget_unavailable("a") == 1
    assert claim_one(here).task_id == task.task_id


def test_it_never_fails_for_good_but_by_its_own_budget():
    task, here = spawn_note(max_retries=0, total_timeout_sec=3600), make_worker(host_id="a")
    with frozen_clock() as frozen:
        for _ in range(5):
            lack(task, here)
            frozen.tick(601)
        assert task.status == "pending"
        frozen.tick(600)
        assert claim_tasks(here, limit=1)  # the last attempt before the budget ends


def test_the_explanation_says_what_every_host_lacks_and_when_it_is_tried_again():
    task, here = spawn_note(), make_worker(host_id="a", host="lxd110h01", memory_gb=8.0)
    lack(task, here)
    found = finding(task, "unavailable")
    assert "lxd110h01: data root /data is not mounted" in found.text and "the first host tries again in " in found.text
    assert blocking(task) == ["unavailable"]
    make_worker(host_id="b", memory_gb=8.0)
    assert "unavailable" not in blocking(task)


def test_a_worker_that_does_not_see_its_roots_is_named():
    make_worker(missing_roots=["/data"], memory_gb=8.0)
    task = spawn(TaskOptions(task_name="note", params={"text": "a"}), actor="user:test")
    assert "worker-1@test lacks /data" in finding(task, "roots_missing").text
    assert blocking(task) == ["roots_missing"]


def test_what_a_worker_held_that_was_killed_after_a_stop_signal_is_drained():
    from tasks_app.maintenance.sweeper import return_lost
    from tasks_app.postgresql import clock

    task, worker = spawn_note(), make_worker()
    claim_one(worker)
    worker.stop_signal_at = clock.now()
    worker.save()
    Task.objects.filter(pk=task.pk).update(lease_until=clock.now() - timedelta(seconds=1), lease_sec=1)
    assert return_lost(watched_sec=10) == 1
    task.refresh_from_db()
    assert (task.status, task.failure_class, task.retry_count, task.crash_count) == ("pending", "drained", 0, 0)
    assert "killed after a stop signal" in task.error
