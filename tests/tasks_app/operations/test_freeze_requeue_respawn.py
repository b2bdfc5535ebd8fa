"""Freeze, pause, requeue, respawn and limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks_app.engine.bindings import Binding
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.lease import renew_leases
from tasks_app.errors import AlreadyFrozen, InvalidTransition, LimitNotFound, LostClaim, NotFrozen, ParamsInvalid
from tasks_app.models import LimitSlot, Task, TaskEvent
from tasks_app.operations.queues import pause, remove_limit, resume, set_limit
from tasks_app.operations.system import freeze, thaw
from tasks_app.operations.tasks import requeue, respawn
from tasks_app.postgresql import clock
from tests.tasks_app.notes import REPORT, claim_one, event_types, make_worker, spawn_note

pytestmark = pytest.mark.django_db
BY = {"actor": "user:alice", "reason": "disk is full"}


def output(event_type: str) -> TaskEvent:
    return TaskEvent.objects.get(event_type=event_type, task_id=None)


def test_while_frozen_nothing_is_claimed_and_spawns_are_held(worker):
    before = spawn_note()
    elsewhere = make_worker(label="worker-2", queues=["other"])
    freeze(**BY)
    spawn_note(queue_name="other")
    assert claim_tasks(worker, limit=5) == claim_tasks(elsewhere, limit=5) == []
    assert (output("frozen").actor, output("frozen").reason) == ("user:alice", "disk is full")
    with pytest.raises(AlreadyFrozen, match=r"user:alice.*disk is full"):
        freeze(actor="user:bob", reason="me too")
    thaw(actor="user:bob")
    assert claim_one(worker).task_id == before.task_id
    assert len(claim_tasks(elsewhere, limit=5)) == 1
    with pytest.raises(NotFrozen):
        thaw(actor="user:bob")


def test_a_running_task_is_completed_while_frozen(worker):
    spawn_note()
    claim = claim_one(worker)
    freeze(**BY)
    assert renew_leases([claim]).held == {claim.task_id}
    assert complete_task(claim, {}, REPORT).status == "completed"


def test_pausing_and_resuming_are_told_as_events():
    queue = spawn_note().queue_id
    pause(queue, **BY)
    resume(queue, actor="user:bob", reason="cleaned up")
    assert (output("paused").queue_name, output("resumed").reason) == (queue, "cleaned up")


def test_a_stalled_claim_is_requeued_as_lost(worker):
    task = spawn_note()
    claim = claim_one(worker)
    with pytest.raises(InvalidTransition, match="its lease is valid until"):
        requeue(task.task_id, **BY)
    Task.objects.filter(pk=task.pk).update(lease_until=clock.now() - timedelta(seconds=1))
    assert requeue(task.task_id, **BY).status == "pending"
    assert event_types(task) == ["spawned", "claimed", "retrying"]
    assert TaskEvent.objects.get(event_type="retrying").actor == "user:alice"
    with pytest.raises(LostClaim):
        complete_task(claim, {}, REPORT)


def test_a_claim_whose_lease_holds_is_requeued_only_by_force(worker):
    task = spawn_note()
    claim_one(worker)
    assert requeue(task.task_id, force=True, **BY).status == "pending"
    assert "although its lease was valid" in Task.objects.get(pk=task.pk).error


@pytest.mark.parametrize("gone", ["lost", "stopped"])
def test_a_claim_of_a_worker_that_is_gone_is_requeued_before_its_lease_ends(worker, gone):
    task = spawn_note()
    claim_one(worker)
    moment = clock.now()
    change = {"stopped_at": moment} if gone == "stopped" else {"heartbeat_at": moment - timedelta(hours=1)}
    type(worker).objects.filter(pk=worker.pk).update(**change)
    assert requeue(task.task_id, **BY).status == "pending"
    assert "although its lease was valid" not in Task.objects.get(pk=task.pk).error


def test_a_pending_task_cannot_be_requeued():
    with pytest.raises(InvalidTransition, match="it is pending"):
        requeue(spawn_note().task_id, **BY)


def test_a_respawned_task_is_a_changed_copy_that_stands_alone(worker):
    parent = spawn_note()
    child = spawn_note(
        params={}, bindings={"text": Binding(task_id=parent.task_id, field="title")}, concurrency_key="a"
    )
    complete_task(claim_one(worker), {"title": "from above"}, REPORT)
    fresh = respawn(child.task_id, priority=15, **BY)
    assert (fresh.params, fresh.priority, fresh.concurrency_key) == ({"text": "from above"}, 15, "a")
    assert fresh.bindings == {}
    assert TaskEvent.objects.get(event_type="respawned", task_id=child.task_id).detail["as"] == str(fresh.task_id)
    assert TaskEvent.objects.get(event_type="copied").detail["from"] == str(child.task_id)
    with pytest.raises(ParamsInvalid, match=r"params\.copies"):
        respawn(child.task_id, params={"text": "a", "copies": 99}, **BY)


def test_a_limit_counts_what_runs_already_shrinks_gently_and_goes(worker):
    claims = [claim_one(worker) for _ in range(3) if spawn_note()]
    for _ in range(4):
        spawn_note()
    set_limit("queue", "dsa110-pipeline", size=2, **BY)
    assert claim_tasks(worker, limit=5) == []
    for claim in claims[:2]:
        complete_task(claim, {}, REPORT)
    assert len(claim_tasks(worker, limit=5)) == 1
    set_limit("queue", "dsa110-pipeline", size=1, **BY)
    complete_task(claims[2], {}, REPORT)
    assert claim_tasks(worker, limit=5) == []
    assert LimitSlot.objects.count() <= 2
    remove_limit("queue", "dsa110-pipeline", **BY)
    assert len(claim_tasks(worker, limit=5)) == 3
    assert (output("limit_removed").reason, TaskEvent.objects.filter(event_type="limit_set").count()) == (
        "disk is full",
        2,
    )


def test_a_key_whose_limit_is_removed_falls_back_to_one_at_a_time(worker):
    set_limit("key", "disk-a", size=3, **BY)
    for _ in range(4):
        spawn_note(concurrency_key="disk-a")
    claims = claim_tasks(worker, limit=5)
    assert len(claims) == 3
    remove_limit("key", "disk-a", **BY)
    for claim in claims[:2]:
        complete_task(claim, {}, REPORT)
    assert claim_tasks(worker, limit=5) == []
    complete_task(claims[2], {}, REPORT)
    assert len(claim_tasks(worker, limit=5)) == 1


@pytest.mark.parametrize(("scope", "name", "size"), [("host", "a", 1), ("key", " ", 1), ("key", "a", 0)])
def test_a_limit_that_makes_no_sense_is_refused(scope, name, size):
    with pytest.raises(ParamsInvalid):
        set_limit(scope, name, size=size, **BY)
    with pytest.raises(LimitNotFound):
        remove_limit("key", "never set", **BY)
