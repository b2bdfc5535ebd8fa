"""Many processes on one queue, and every pair of changes at the same moment on the same task."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import Completion, complete_task, complete_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import renew_leases, report_progress
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.errors import AbsurdError
from tasks_app.maintenance import sweeper
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.operations import bulk
from tasks_app.operations.tasks import TaskOperation, cancel, reprioritize, retry
from tasks_app.postgresql import clock
from tests.tasks_app import claimers
from tests.tasks_app.notes import REPORT, make_worker, spawn_note
from tests.tasks_app.test_races import together

pytestmark = pytest.mark.django_db(transaction=True)


def test_eight_processes_claim_20000_tasks_none_twice_none_lost(live_environment):
    spawn_many([TaskOptions(task_name="note", params={"text": "a"}) for _ in range(20_000)], actor="user:test")
    seen = claimers.run(live_environment, processes=8, batch=50)
    assert sum(completed for _, completed in seen) == 20_000
    assert Task.objects.filter(status="completed", claim_epoch=1).count() == 20_000
    assert Attempt.objects.filter(number=1, outcome="completed").count() == 20_000
    assert TaskEvent.objects.filter(event_type="completed").count() == 20_000


def expire(claim: Claim) -> None:
    Task.objects.filter(task_id=claim.task_id).update(lease_until=clock.now() - timedelta(seconds=1), lease_sec=1)


CHANGES: dict[str, Callable[[Claim], object]] = {
    "complete": lambda claim: complete_task(claim, {}, REPORT),
    "complete many": lambda claim: complete_tasks([Completion(claim=claim, result={})]),
    "fail": lambda claim: fail_attempt(claim, "error", "boom", REPORT),
    "fail for good": lambda claim: fail_attempt(claim, "invalid", "no such file", REPORT),
    "renew": lambda claim: renew_leases([claim]),
    "progress": lambda claim: report_progress(claim, fraction=0.5, message="half"),
    "cancel": lambda claim: cancel(claim.task_id, actor="user:test"),
    "retry": lambda claim: retry(claim.task_id, actor="user:test"),
    "reprioritize": lambda claim: reprioritize(claim.task_id, priority=20, actor="user:test"),
    "sweep": lambda claim: sweeper.return_lost(watched_sec=60.0),
    "spawn a child": lambda claim: spawn_note(depends_on=[claim.task_id], concurrency_key="same"),
    "retry the child": lambda claim: retry_children(claim),
    "cancel all": lambda claim: do_to_all(cancel),
    "retry all": lambda claim: do_to_all(retry),
}


def do_to_all(operation: TaskOperation[Any]) -> None:
    ids = bulk.ids_of(Task.objects.all(), children_first=operation.children_first)
    bulk.act_on_many(operation, ids, operation.params_model(reason="all of them"), "user:test")


def retry_children(claim: Claim) -> None:
    for child in Task.objects.filter(created_by="user:test", params={"text": f"child of {claim.task_id}"}):
        retry(child.task_id, actor="user:test")


@pytest.mark.parametrize("changes", itertools.combinations_with_replacement(CHANGES, 2), ids="-".join)
def test_no_two_changes_deadlock_and_one_history_comes_of_it(changes):
    worker = make_worker()
    for _ in range(2):
        spawn_note(concurrency_key="same")
        (claim,) = claim_tasks(worker, limit=1)
        for _ in range(3):
            spawn_note(depends_on=[claim.task_id], params={"text": f"child of {claim.task_id}"})
        if "sweep" in changes:
            expire(claim)
        outcomes = together(*(lambda change=change, claim=claim: CHANGES[change](claim) for change in changes))
        unexpected = [each for each in outcomes if isinstance(each, Exception) and not isinstance(each, AbsurdError)]
        assert unexpected == []
        task = Task.objects.get(task_id=claim.task_id)
        moves = TaskEvent.objects.filter(task_id=task.task_id).exclude(from_status="").order_by("id")
        assert moves.last().to_status == task.status
        settle(worker)


def settle(worker) -> None:
    """Bring everything to an end, so that the next round finds the key free."""
    Task.objects.filter(status="pending", hold=1).update(runnable_at=clock.now() - timedelta(seconds=1))
    Task.objects.filter(status="claimed").update(lease_until=clock.now() - timedelta(seconds=1), lease_sec=1)
    for _ in range(20):
        sweeper.return_lost(watched_sec=60.0)
        sweeper.release_due()
        Task.objects.filter(status="pending", hold=1).update(runnable_at=clock.now() - timedelta(seconds=1))
        claims = claim_tasks(worker, limit=20)
        for claim in claims:
            complete_task(claim, {}, REPORT)
    assert not Task.objects.filter(status="claimed").exists()


def test_two_batches_that_hold_each_others_children_end_without_a_deadlock():
    worker = make_worker()
    for _ in range(20):
        parents = spawn_many([TaskOptions(task_name="note", params={"text": "a"}) for _ in range(6)], actor="user:test")
        ids = [parent.task_id for parent in parents]
        children = [spawn_note(depends_on=ids[::2] + ids[n::3]) for n in range(3)]
        claims = claim_tasks(worker, limit=6)
        halves = [claims[::2], claims[1::2]]
        outcomes = together(
            *(lambda half=half: complete_tasks([Completion(claim=c, result={}) for c in half]) for half in halves)
        )
        assert outcomes == [set(), set()]
        released = Task.objects.filter(task_id__in=[child.task_id for child in children], hold=0)
        assert released.count() == 3
        for claim in claim_tasks(worker, limit=3):
            complete_task(claim, {}, REPORT)
