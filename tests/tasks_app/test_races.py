"""Two connections at once: what must hold whichever wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connection, transaction

from tasks_app.engine import dependencies
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.move import settle
from tasks_app.errors import LostClaim
from tasks_app.models import Attempt, IdempotencyKey, Limit, Run, Schedule, Task, TaskEvent
from tasks_app.operations.tasks import retry
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, claim_one, event_types, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
NIGHTLY = {"cron": "0 9 * * *", "task_name": "note", "params": {"text": "a"}}


def together(*works: Callable[[], object]) -> list[object]:
    """Run all at once, each on a connection of its own, and return their results or exceptions."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        try:
            barrier.wait()
            return work()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_two_parents_that_end_together_release_their_child_once():
    worker = make_worker()
    for _ in range(10):
        spawn_note(), spawn_note()
        claims = claim_tasks(worker, limit=2)
        child = spawn_note(depends_on=[claim.task_id for claim in claims])
        together(*(lambda c=claim: complete_task(c, {}, REPORT) for claim in claims))
        assert event_types(child) == ["spawned", "released"]
        complete_task(claim_one(worker), {}, REPORT)


def test_a_child_is_not_failed_because_of_a_parent_that_is_being_retried():
    parent = spawn_note()
    child = spawn_note(depends_on=[parent.task_id])
    Task.objects.filter(pk=parent.pk).update(status="failed", failure_class="invalid", completed_at=clock.now())
    retried, looked = threading.Event(), threading.Event()

    def retry_slowly() -> None:
        with transaction.atomic():
            retry(parent.task_id, actor="user:test")
            retried.set()
            assert looked.wait(60)

    def look() -> None:
        assert retried.wait(60)
        with transaction.atomic():
            settle(dependencies.lock_waiting_children([parent.task_id]))
        looked.set()

    assert together(retry_slowly, look) == [None, None]
    assert [Task.objects.get(pk=each.pk).status for each in (parent, child)] == ["pending", "pending"]
    Task.objects.filter(pk=parent.pk).update(status="failed", failure_class="invalid", completed_at=clock.now())
    with transaction.atomic():
        settle(dependencies.lock_waiting_children([parent.task_id]))
    assert Task.objects.get(pk=child.pk).status == "failed"


def test_a_child_spawned_while_its_parent_ends_is_never_left_waiting():
    worker = make_worker()
    for _ in range(10):
        parent = spawn_note()
        claim = claim_one(worker)
        _, child = together(
            lambda c=claim: complete_task(c, {}, REPORT), lambda p=parent: spawn_note(depends_on=[p.task_id])
        )
        child.refresh_from_db()
        assert child.hold == 0
        complete_task(claim_one(worker), {}, REPORT)


def test_the_same_key_from_two_callers_makes_one_task():
    for n in range(10):
        tasks = together(*[lambda key=f"tile-{n}": spawn_note(idempotency_key=key)] * 3)
        assert len({task.task_id for task in tasks}) == 1
    assert (Task.objects.count(), IdempotencyKey.objects.count()) == (10, 10)


def test_the_same_key_with_two_requests_at_once_begins_one_run():
    key = make_key("spawn")
    body = {"workflow": "mine", "stages": [{"name": "a", "task_name": "note", "params": {"text": "a"}}]}
    for n in range(10):
        callers = [Caller(key, **{"Idempotency-Key": f"night-{n}"}) for _ in range(3)]
        answers = together(*(lambda c=caller: c.post("runs", body) for caller in callers))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
        assert len({answer.body["run_id"] for answer in answers}) == 1
    assert (Run.objects.count(), Task.objects.count(), IdempotencyKey.objects.count()) == (10, 10, 10)


def test_of_four_spawns_with_one_key_at_once_one_says_that_it_made_the_task():
    key = make_key("spawn")
    body = {"task_name": "note", "params": {"text": "a"}}
    for n in range(10):
        callers = [Caller(key, **{"Idempotency-Key": f"tile-{n}"}) for _ in range(4)]
        answers = together(*(lambda c=caller: c.post("tasks", body) for caller in callers))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
        assert len({answer.body["task_id"] for answer in answers}) == 1
    assert Task.objects.count() == 10


@pytest.mark.parametrize(
    ("path", "body", "statuses", "model"),
    [
        ("schedules/s-{}", NIGHTLY, [200, 200, 200, 201], Schedule),
        ("limits/key/k-{}", {"size": 2}, [200] * 4, Limit),
    ],
    ids=["schedules", "limits"],
)
def test_of_four_that_put_the_same_at_once_at_most_one_creates_it(path, body, statuses, model):
    key = make_key("admin")
    for n in range(10):
        callers = [Caller(key) for _ in range(4)]
        answers = together(*(partial(caller, "PUT", path.format(n), body) for caller in callers))
        assert sorted(answer.status_code for answer in answers) == statuses
    assert model.objects.count() == 10


def test_one_of_two_ends_of_the_same_claim_wins():
    worker = make_worker()
    for _ in range(10):
        spawn_note()
        claim = claim_one(worker)
        outcomes = together(
            lambda c=claim: complete_task(c, {}, REPORT),
            lambda c=claim: fail_attempt(c, "invalid", "no", REPORT),
        )
        assert [type(outcome) for outcome in outcomes].count(LostClaim) == 1
    assert TaskEvent.objects.filter(event_type="refused").count() == 10


def test_eight_claimers_never_share_a_task():
    workers = [make_worker(label=f"worker-{n}") for n in range(8)]
    for _ in range(200):
        spawn_note()

    def drain(worker):
        mine = []
        while claims := claim_tasks(worker, limit=3):
            mine += [claim.task_id for claim in claims]
        return mine

    rounds = together(*(lambda w=worker: drain(w) for worker in workers))
    for leftover in iter(lambda: drain(workers[0]), []):
        rounds.append(leftover)
    claimed = [task_id for mine in rounds for task_id in mine]
    assert len(claimed) == len(set(claimed)) == 200
    assert Attempt.objects.count() == 200


def test_a_rolled_back_spawn_leaves_nothing():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        spawn_note()
        raise ZeroDivisionError
    assert not Task.objects.exists()
    assert not TaskEvent.objects.exists()
