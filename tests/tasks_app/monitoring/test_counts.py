"""Counts equal a recount, whatever is done at the same time."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest
from django.db import connection, transaction

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.errors import AbsurdError
from tasks_app.models import CountDelta, QueueCount, Task, TaskStatus
from tasks_app.monitoring import queues
from tasks_app.operations.tasks import cancel
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note
from tests.tasks_app.test_races import together

QUEUES = ["dsa110-pipeline", "other", "third"]


def recount() -> dict[tuple[str, str], int]:
    return dict(Counter(Task.objects.values_list("queue_id", "status")))


def counted() -> dict[tuple[str, str], int]:
    return {pair: n for pair, n in queues.task_counts(QUEUES).items() if n}


def folded() -> dict[tuple[str, str], int]:
    return {(row.queue_name, row.status): row.count for row in QueueCount.objects.all() if row.count}


@pytest.mark.django_db
def test_folding_changes_no_count_and_leaves_nothing_to_fold(worker):
    for queue in ("dsa110-pipeline", "dsa110-pipeline", "other"):
        spawn_note(queue_name=queue)
    complete_task(claim_one(worker), {}, REPORT)
    before = counted()
    assert before == recount() == {
        ("dsa110-pipeline", "pending"): 1, ("dsa110-pipeline", "completed"): 1, ("other", "pending"): 1,
    }  # fmt: skip
    assert queues.fold_counts() > 0
    assert (queues.fold_counts(), CountDelta.objects.count()) == (0, 0)
    assert counted() == folded() == before


@pytest.mark.django_db
def test_a_fold_takes_no_more_than_its_limit():
    for _ in range(5):
        spawn_note()
    assert [queues.fold_counts(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert queues.unfolded_changes(most=10) == 0
    assert folded() == {("dsa110-pipeline", "pending"): 5}


@pytest.mark.django_db
def test_queues_with_pending_tasks_are_known_folded_or_not(worker):
    spawn_note(queue_name="other")
    spawn_note()
    queues.fold_counts()
    claim_one(worker)
    spawn_note(queue_name="third")
    assert queues.queues_with_pending() == ["other", "third"]


@pytest.mark.django_db
@pytest.mark.parametrize("fold_first", [True, False])
def test_deleted_and_truncated_tasks_are_counted_no_more(fold_first):
    for queue in ("dsa110-pipeline", "other"):
        spawn_note(queue_name=queue)
    if fold_first:
        queues.fold_counts()
    Task.objects.filter(queue_id="other").delete()
    assert counted() == recount() == {("dsa110-pipeline", "pending"): 1}
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE tasks_app_task CASCADE")
    assert counted() == folded() == {}
    assert [each["total"] for each in queues.queue_stats(QUEUES)] == [0, 0, 0]


def work_at_random(seed: int, until: float) -> None:
    """Spawn, claim, complete, fail, cancel and delete; roll a third of it back."""
    dice = random.Random(seed)
    worker = make_worker(label=f"worker-{seed}", queues=QUEUES)

    def step() -> None:
        for _ in range(dice.randint(1, 3)):
            spawn_note(queue_name=dice.choice(QUEUES), max_retries=dice.randint(0, 1))
        for claim in claim_tasks(worker, limit=dice.randint(1, 4)):
            match dice.choice(["complete", "fail", "invalid", "cancel", "hold", "hold"]):
                case "complete":
                    complete_task(claim, {}, REPORT)
                case "fail":
                    fail_attempt(claim, "error", "no luck", REPORT)
                case "invalid":
                    fail_attempt(claim, "invalid", "never", REPORT)
                case "cancel":
                    cancel(claim.task_id, actor="user:test")
        finished = Task.objects.filter(status="completed").order_by("id").select_for_update(skip_locked=True)
        if dice.random() < 0.2 and (victim := finished.first()):
            victim.delete()
        if dice.random() < 0.33:
            raise ZeroDivisionError

    while time.monotonic() < until:
        try:
            with transaction.atomic():
                step()
        except (ZeroDivisionError, AbsurdError):
            continue


@pytest.mark.django_db(transaction=True)
def test_counts_equal_a_recount_under_random_work_by_several_connections_with_folds_between():
    until = time.monotonic() + 3.0
    stop, seen = threading.Event(), []

    def watch() -> None:
        """Look at both in one snapshot: they agree at every moment, not only at rest."""
        while not stop.is_set():
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                seen.append((counted(), recount()))

    def fold_on() -> None:
        while not stop.is_set():
            queues.fold_counts(limit=random.randint(1, 50))

    def work(seed: int) -> None:
        try:
            work_at_random(seed, until)
        finally:
            if seed == 0:
                stop.set()

    outcomes = together(*(lambda n=n: work(n) for n in range(3)), fold_on, fold_on, watch)
    assert outcomes == [None] * 6
    assert len(seen) > 20
    assert sum(sum(truth.values()) for _, truth in seen) > 0
    for found, truth in seen:
        assert found == truth
    while queues.fold_counts():
        pass
    assert counted() == folded() == recount() != {}
    assert not CountDelta.objects.exists()
    rows = queues.queue_stats(QUEUES)
    output = {(row["queue_name"], status): row[status] for row in rows for status in TaskStatus.values}
    assert {pair: n for pair, n in output.items() if n} == recount()
    assert sum(row["total"] for row in rows) == Task.objects.count()


@pytest.mark.django_db(transaction=True)
def test_a_fold_that_is_rolled_back_has_not_happened():
    spawn_note()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert queues.fold_counts() == 1
        raise ZeroDivisionError
    assert (CountDelta.objects.count(), QueueCount.objects.count()) == (1, 0)
    assert counted() == recount()


@pytest.mark.django_db(transaction=True)
def test_two_folds_at_once_wait_for_nobodys_rows_but_counts():
    """While one fold has not committed, another takes the changes that are left, not those, and not never."""
    for queue in QUEUES:
        spawn_note(queue_name=queue)
    with transaction.atomic():
        assert queues.fold_counts(limit=2) == 2
        (other,) = together(lambda: queues.fold_counts())
        assert other == 1
    assert counted() == folded() == recount()
