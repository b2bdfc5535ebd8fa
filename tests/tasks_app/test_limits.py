"""No more tasks are claimed at once than a limit says, and what it blocks is in nobody's way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks_app.engine import limits, registry
from tasks_app.engine.claim import Room, claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.models import Hold, Limit, LimitSlot, Task, Worker
from tasks_app.operations.tasks import retry
from tasks_app.postgresql import clock
from tests.tasks_app import claimers
from tests.tasks_app.notes import NOTE, REPORT, claim_one, make_worker, spawn_note

QUEUE = "dsa110-pipeline"


def make_limit(size: int, scope: str = "queue", name: str = QUEUE) -> Limit:
    limit, _ = Limit.objects.update_or_create(scope=scope, name=name, defaults={"size": size})
    LimitSlot.objects.bulk_create(LimitSlot(limit=limit, number=n + 1) for n in range(size))
    return limit


@pytest.mark.django_db
def test_a_queue_gives_no_more_than_its_limit(worker):
    make_limit(2)
    for _ in range(5):
        spawn_note()
    first, second = claim_tasks(worker, limit=5)
    assert claim_tasks(worker, limit=5) == []
    complete_task(first, {}, REPORT)
    third = claim_one(worker)
    assert claim_tasks(worker, limit=5) == []
    fail_attempt(second, "invalid", "no such file", REPORT)
    fail_attempt(third, "drained", "stopped", REPORT)
    assert len(claim_tasks(worker, limit=5)) == 2
    assert LimitSlot.objects.filter(task_id__isnull=False).count() == 2


@pytest.mark.django_db
def test_a_key_without_a_limit_of_its_own_lets_one_through(worker):
    same = [spawn_note(concurrency_key="disk-a") for _ in range(3)]
    other = spawn_note(concurrency_key="disk-b")
    free = spawn_note()
    claims = claim_tasks(worker, limit=9)
    assert [claim.task_id for claim in claims] == [same[0].task_id, other.task_id, free.task_id]
    complete_task(claims[0], {}, REPORT)
    assert claim_one(worker).task_id == same[1].task_id


@pytest.mark.django_db
def test_a_task_under_two_limits_needs_a_slot_of_each(worker):
    make_limit(2)
    for key in ("a", "a", "b"):
        spawn_note(concurrency_key=key)
    first, second = claim_tasks(worker, limit=3)
    assert {Task.objects.get(task_id=c.task_id).concurrency_key for c in (first, second)} == {"a", "b"}
    complete_task(first, {}, REPORT)
    assert Task.objects.get(task_id=claim_one(worker).task_id).concurrency_key == "a"


@pytest.fixture
def large_note(monkeypatch: pytest.MonkeyPatch) -> str:
    spec = replace(NOTE, name="large-note", memory_gb=8)
    monkeypatch.setitem(registry._specs, spec.name, spec)
    return spec.name


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["queue", "key"])
def test_a_task_that_fits_no_worker_keeps_nobody_from_a_slot(large_note, scope):
    worker, key = make_worker(memory_gb=4), "disk" if scope == "key" else ""
    make_limit(1, scope, key or QUEUE)
    running = spawn_note(concurrency_key=key)
    large = spawn_note(task_name=large_note, concurrency_key=key, priority=14)
    small = spawn_note(concurrency_key=key)
    (claim,) = claim_tasks(worker, limit=2, room=Room(memory_gb=4))
    assert claim.task_id == running.task_id
    complete_task(claim, {}, REPORT)
    (claim,) = claim_tasks(worker, limit=2, room=Room(memory_gb=4))
    assert claim.task_id == small.task_id
    complete_task(claim, {}, REPORT)
    make_worker(label="worker-2", memory_gb=16)
    Sweeper().sweep()
    assert Task.objects.get(pk=large.pk).hold == 0


@pytest.mark.django_db
def test_what_came_forward_before_its_worker_ended_keeps_nobody_from_a_slot(large_note):
    worker, large_host = make_worker(memory_gb=4), make_worker(label="worker-2", memory_gb=16)
    make_limit(1)
    large, small = spawn_note(task_name=large_note, priority=14), spawn_note()
    assert Task.objects.get(pk=large.pk).hold == 0
    Worker.objects.filter(pk=large_host.pk).update(stopped_at=clock.now())
    Sweeper().sweep()
    (claim,) = claim_tasks(worker, limit=2, room=Room(memory_gb=4))
    assert claim.task_id == small.task_id


@pytest.mark.django_db
def test_what_a_full_limit_blocks_is_not_in_front_of_others(worker):
    make_limit(1, "key", "slow")
    many = [
        TaskOptions(task_name="note", params={"text": "a"}, concurrency_key="slow", priority=14) for _ in range(500)
    ]
    spawn_many(many, actor="user:test")
    last = spawn_note(priority=1)
    assert Task.objects.filter(status="pending", hold=0).count() == 2
    assert len(claim_tasks(worker, limit=1)) == 1
    assert claim_one(worker).task_id == last.task_id


@pytest.mark.django_db
def test_a_limit_set_while_tasks_wait_parks_them_as_they_come_up(worker):
    for _ in range(20):
        spawn_note()
    make_limit(3)
    assert len(claim_tasks(worker, limit=10)) == 3
    assert claim_tasks(worker, limit=10) == []


@pytest.mark.django_db
def test_a_parked_task_whose_slot_was_freed_unseen_comes_forward_by_the_sweep(worker):
    limit = make_limit(1)
    spawn_note(), spawn_note()
    claim_one(worker)
    LimitSlot.objects.update(task_id=None)
    assert claim_tasks(worker, limit=1) == []
    assert limits.admit([limit.pk]) == {QUEUE}
    Sweeper().sweep()
    assert len(claim_tasks(worker, limit=5)) == 1


@pytest.mark.django_db
def test_a_scheduled_retry_under_a_limit_waits_parked_when_its_time_has_come(worker):
    make_limit(1)
    task = spawn_note()
    fail_attempt(claim_one(worker), "error", "boom", REPORT)
    spawn_note()
    claim_one(worker)
    Task.objects.filter(pk=task.pk).update(runnable_at="2000-01-01T00:00Z")
    Sweeper().sweep()
    task.refresh_from_db()
    assert task.hold == Hold.LIMIT
    assert claim_tasks(worker, limit=1) == []


@pytest.mark.django_db
def test_a_cancelled_and_retried_task_takes_a_slot_like_any_other(worker):
    make_limit(1)
    task = spawn_note()
    fail_attempt(claim_one(worker), "cancelled", "on request", REPORT)
    retry(task.task_id, actor="user:test")
    claim_one(worker)
    spawn_note()
    assert claim_tasks(worker, limit=1) == []


@pytest.mark.django_db
def test_limits_that_only_a_key_made_go_with_its_last_task(worker):
    spawn_note(concurrency_key="tile-1")
    spawn_note(concurrency_key="tile-2")
    make_limit(2, "key", "kept")
    complete_task(claim_one(worker), {}, REPORT)
    assert limits.remove_unused() == 1
    assert sorted(Limit.objects.values_list("name", flat=True)) == ["kept", "tile-2"]
    spawn_note(concurrency_key="tile-1")
    assert len(claim_tasks(worker, limit=5)) == 2


@pytest.mark.django_db(transaction=True)
def test_eight_processes_under_a_limit_of_three_never_hold_four(live_environment):
    make_limit(3)
    spawn_many([TaskOptions(task_name="note", params={"text": "a"}) for _ in range(300)], actor="user:test")
    seen = claimers.run(live_environment, processes=8, batch=2)
    assert max(most for most, _ in seen) == 3
    assert sum(completed for _, completed in seen) == Task.objects.filter(status="completed").count() == 300
    assert LimitSlot.objects.filter(task_id=None).count() == 3


@pytest.mark.django_db
def test_what_was_parked_while_its_limit_went_comes_forward_by_the_sweep(worker):
    task = spawn_note()
    Task.objects.filter(pk=task.pk).update(hold=Hold.LIMIT)
    Sweeper().sweep()
    assert claim_one(worker).task_id == task.task_id
