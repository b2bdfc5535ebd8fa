"""What a task name says about its failures, and the clocks of a task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.maintenance import sweeper
from tasks_app.models import Task, TaskEvent
from tasks_app.postgresql import clock
from tasks_app.testing import frozen_clock, registered
from tests.tasks_app.notes import NOTE, REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def spawn_named(**spec: object) -> Task:
    return spawn_many([TaskOptions(task_name=str(spec["name"]), params={"text": "a"})], actor="user:test")[0]


def test_a_name_says_which_failures_are_tried_again(worker):
    with registered(replace(NOTE, name="fragile", retried=frozenset({"lost"}))):
        task = spawn_named(name="fragile")
        fail_attempt(claim_one(worker), "error", "boom", REPORT)
    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("failed", 0)


def test_a_name_says_how_soon_and_the_event_says_when(worker):
    with registered(replace(NOTE, name="slow", backoff_base_sec=1000.0, backoff_cap_sec=1000.0)):
        task = spawn_named(name="slow")
        waits = []
        for _ in range(8):
            fail_attempt(claim_one(worker), "error", "boom", REPORT)
            task.refresh_from_db()
            waits.append((task.runnable_at - clock.now()).total_seconds())
            Task.objects.filter(pk=task.pk).update(hold=0, retry_count=0)
    assert max(waits) <= 1000
    assert max(waits) > 100
    output = TaskEvent.objects.filter(event_type="retrying").last()
    assert output.detail["next_try_at"] == clock.stamp(task.runnable_at)


def test_after_running_out_of_memory_it_asks_for_more_up_to_the_largest_host(worker):
    worker.memory_gb = 1.6
    worker.save()
    task = spawn_note(max_retries=5)
    seen = []
    for _ in range(2):
        fail_attempt(claim_one(worker), "memory", "grew beyond its limit", REPORT)
        task.refresh_from_db()
        seen.append(task.memory_gb)
        Task.objects.filter(pk=task.pk).update(hold=0)
    assert seen == [1.5, 1.6]


def test_no_attempt_begins_or_goes_on_after_the_total_budget(worker):
    with frozen_clock() as now:
        task = spawn_note(total_timeout_sec=100.0, timeout_sec=3600)
        now.tick(40)
        claim = claim_one(worker)
        assert (claim.task_id, claim.timeout_sec) == (task.task_id, 60)
        late = spawn_note(total_timeout_sec=50.0)
        now.tick(51)
        assert sweeper.fail_past_deadline() == 1
        late.refresh_from_db()
        assert (late.status, late.failure_class) == ("failed", "timeout")
        now.tick(9)
        fail_attempt(claim, "timeout", "ran too long", REPORT)
    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("failed", 0)
    assert "its total timeout ends" in task.error


def test_max_wait_ends_only_what_never_began(worker):
    with frozen_clock() as now:
        waiting, begun = spawn_note(queue_timeout_sec=30.0, priority=1), spawn_note(queue_timeout_sec=30.0)
        fail_attempt(claim_one(worker), "drained", "stopped", REPORT)
        now.tick(31)
        assert sweeper.fail_overdue() == 1
    for task in (waiting, begun):
        task.refresh_from_db()
    assert (waiting.status, begun.status) == ("failed", "pending")


def test_a_crash_counts_from_the_claim_and_no_longer_when_it_ended_otherwise(worker):
    task = spawn_note(max_retries=9)
    for failure_class, while_claimed, afterwards in (("lost", 1, 1), ("error", 2, 1), ("killed", 2, 2)):
        claim = claim_one(worker)
        task.refresh_from_db()
        assert task.crash_count == while_claimed
        fail_attempt(claim, failure_class, "boom", REPORT)
        task.refresh_from_db()
        assert task.crash_count == afterwards
        Task.objects.filter(pk=task.pk).update(hold=0)
    complete_task(claim_one(make_worker(label="worker-2")), {}, REPORT)
    task.refresh_from_db()
    assert task.crash_count == 2


def test_ten_thousand_are_spawned_in_one_statement():
    requests = [TaskOptions(task_name="note", params={"text": str(n)}) for n in range(10_000)]
    spawn_note()
    began = clock.now()
    tasks = spawn_many(requests, actor="user:test")
    assert len({task.task_id for task in tasks}) == Task.objects.filter(created_at__gte=began).count() == 10_000
    events = TaskEvent.objects.filter(event_type="spawned", created_at__gte=began)
    assert (events.count(), len(set(events.values_list("created_at", flat=True)))) == (10_000, 1)
