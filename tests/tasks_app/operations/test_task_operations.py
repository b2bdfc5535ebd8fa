from __future__ import annotations

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import renew_leases
from tasks_app.errors import InvalidTransition, ParamsInvalid, TaskNotFound
from tasks_app.models import TaskEvent
from tasks_app.operations.tasks import cancel, reprioritize, retry
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db
ALICE = {"actor": "user:alice", "reason": "wrong field"}


def test_a_pending_task_is_cancelled_at_once(worker):
    task = cancel(spawn_note().task_id, **ALICE)
    assert task.status == "cancelled"
    event = TaskEvent.objects.get(event_type="cancelled")
    assert (event.actor, event.reason) == ("user:alice", "wrong field")
    assert claim_tasks(worker, limit=1) == []


def test_a_claimed_task_is_cancelling_until_its_worker_has_stopped_it(worker):
    task = spawn_note()
    claim = claim_one(worker)
    assert cancel(task.task_id, **ALICE).display_status == "cancelling"
    assert renew_leases([claim]).cancel_requested == {task.task_id}
    with pytest.raises(InvalidTransition, match="claimed"):
        retry(task.task_id, **ALICE)
    fail_attempt(claim, "killed", "stopped by SIGTERM", REPORT)
    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("cancelled", 0)
    assert event_types(task) == ["spawned", "claimed", "cancel_requested", "cancelled"]


def test_asking_twice_to_cancel_a_claimed_task_writes_one_request(worker):
    task = spawn_note()
    claim_one(worker)
    cancel(task.task_id, **ALICE)
    cancel(task.task_id, **ALICE)
    assert event_types(task).count("cancel_requested") == 1


def test_a_finished_task_cannot_be_cancelled(worker):
    task = spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    with pytest.raises(InvalidTransition) as caught:
        cancel(task.task_id, **ALICE)
    assert caught.value.current == "completed"


def test_a_failed_task_is_retried_with_fresh_retries(worker):
    task = spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "error", "boom", REPORT)
    retry(task.task_id, **ALICE)
    task.refresh_from_db()
    assert (task.status, task.retry_count, task.error, task.completed_at) == ("pending", 0, None, None)
    assert claim_one(worker).attempt == 2


@pytest.mark.parametrize("operation", [cancel, retry])
def test_an_unknown_task_is_named(operation, db):
    with pytest.raises(TaskNotFound, match="00000000"):
        operation("00000000-0000-0000-0000-000000000000", **ALICE)


def test_a_new_priority_changes_who_goes_first(worker):
    first, second = spawn_note(), spawn_note()
    reprioritize(second.task_id, priority=15, **ALICE)
    assert claim_one(worker).task_id == second.task_id
    assert TaskEvent.objects.get(event_type="reprioritized").detail["from"] == 5
    assert claim_one(worker).task_id == first.task_id


def test_a_priority_out_of_range_is_refused():
    with pytest.raises(ParamsInvalid, match="priority"):
        reprioritize(spawn_note().task_id, priority=21, **ALICE)


def test_a_chain_behind_invalid_input_fails_with_it_and_comes_back_with_it(worker):
    parent = spawn_note()
    child = spawn_note(depends_on=[parent.task_id])
    grandchild = spawn_note(depends_on=[child.task_id])
    fail_attempt(claim_one(worker), "invalid", "calibration refused", REPORT)
    for task in (child, grandchild):
        task.refresh_from_db()
        assert (task.status, task.failure_class) == ("failed", "invalid")
        assert "calibration refused" in task.error
    late = spawn_note(depends_on=[parent.task_id])
    assert (late.status, late.failure_class) == ("failed", "invalid")

    retry(parent.task_id, **ALICE)
    for task in (child, grandchild, late):
        task.refresh_from_db()
        assert (task.display_status, task.error) == ("waiting", None)
    complete_task(claim_one(worker), {}, REPORT)
    assert {claim.task_id for claim in claim_tasks(worker, limit=5)} == {child.task_id, late.task_id}


def test_a_chain_behind_an_error_waits_for_the_operator(worker):
    parent = spawn_note(max_retries=0)
    child = spawn_note(depends_on=[parent.task_id])
    fail_attempt(claim_one(worker), "error", "boom", REPORT)
    child.refresh_from_db()
    assert child.display_status == "waiting"


def test_a_task_cancelled_while_it_waits_for_its_retry_has_no_duration(worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "error", "boom", REPORT)
    cancel(task.task_id, **ALICE)
    task.refresh_from_db()
    assert (task.status, task.claimed_at, task.duration_sec) == ("cancelled", None, None)


def test_what_failed_by_two_ways_at_once_fails_once_and_is_revived_once(worker):
    parent = spawn_note()
    between = spawn_note(depends_on=[parent.task_id])
    last = spawn_note(depends_on=[parent.task_id, between.task_id])
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    retry(parent.task_id, **ALICE)
    assert event_types(between) == event_types(last) == ["spawned", "unrunnable", "revived"]
