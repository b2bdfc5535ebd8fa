"""A chunk and other transactions on its rows: the database refuses none of them, and nothing is done by halves."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self
from uuid import UUID

import pytest
from django.db import connection, transaction

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import Completion, complete_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.errors import AbsurdError
from tasks_app.maintenance import sweeper
from tasks_app.models import Task, TaskEvent
from tasks_app.operations import bulk
from tasks_app.operations.runs import cancel_run, retry_run
from tasks_app.operations.tasks import TaskOperation, cancel, reprioritize, requeue, retry
from tests.tasks_app.notes import REPORT, event_types, make_worker, spawn_note
from tests.tasks_app.test_races import together
from tests.tasks_app.workflows.run_plans import begin, diamond

pytestmark = pytest.mark.django_db(transaction=True)
WHO = {"actor": "user:test", "reason": "race"}


def carry_out(operation: TaskOperation[Any], ids: list[UUID], **given: Any) -> bulk.BulkResult:
    return bulk.act_on_many(operation, ids, operation.params_model(reason="race", **given), "user:test")


def lock(task: Task) -> None:
    Task.objects.select_for_update().get(pk=task.pk)


class Elsewhere:
    """Another connection, which does one thing after the other."""

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1)
        return self

    def start(self, work: Callable[[], object]) -> Future[Any]:
        return self._pool.submit(work)

    def do(self, work: Callable[[], object]) -> None:
        self.start(work).result(timeout=100)

    def __exit__(self, *_: object) -> None:
        self.do(lambda: connection.close())
        self._pool.shutdown()


def wait_until_somebody_waits() -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while True:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.fetchone()[0]:
                return
        time.sleep(0.002)


def test_a_chunk_leaves_out_what_another_holds_and_does_it_afterwards():
    first, second = spawn_note(), spawn_note()
    with Elsewhere() as operator, Elsewhere() as worker:
        worker.do(lambda: transaction.set_autocommit(False))
        worker.do(lambda: lock(second))
        doing = operator.start(lambda: carry_out(cancel, [first.task_id, second.task_id]))
        wait_until_somebody_waits()
        # Who holds the second wants the first, as who settles the children of several tasks may.
        worker.do(lambda: lock(first))
        assert Task.objects.get(pk=first.pk).status == "cancelled"
        worker.do(transaction.commit)
        assert doing.result(timeout=100).outcomes == {"cancelled": 2}
    assert [event_types(task) for task in (first, second)] == [["spawned", "cancelled"]] * 2


def test_a_chunk_in_a_circle_gives_up_before_the_server_ends_anybody():
    parent = spawn_note()
    child = spawn_note(depends_on=[parent.task_id])
    last = spawn_note()
    with Elsewhere() as operator, Elsewhere() as worker:
        worker.do(lambda: transaction.set_autocommit(False))
        worker.do(lambda: lock(child))
        # Holds the parent and the last one, and wants the child to see whether it still waits.
        doing = operator.start(lambda: carry_out(cancel, [last.task_id, parent.task_id]))
        wait_until_somebody_waits()
        worker.do(lambda: lock(last))
        worker.do(transaction.commit)
        assert doing.result(timeout=100).outcomes == {"cancelled": 2}
    assert [event_types(task) for task in (parent, child, last)] == [
        ["spawned", "cancelled"],
        ["spawned"],
        ["spawned", "cancelled"],
    ]


def mixture() -> tuple[list[Task], list[Claim]]:
    """Claimed tasks with children between them, so that rows are wanted in every order."""
    worker = make_worker()
    tasks: list[Task] = []
    for _ in range(4):
        parents = [spawn_note(), spawn_note()]
        tasks += parents
        tasks += [spawn_note(depends_on=[each.task_id for each in tasks[-4:]]) for _ in range(2)]
    return tasks, claim_tasks(worker, limit=6)


def completing(claims: list[Claim]) -> None:
    complete_tasks([Completion(claim=claim, result={}) for claim in claims])


def failing(claims: list[Claim]) -> None:
    for claim in claims:
        fail_attempt(claim, "invalid", "boom", REPORT)


BULKS: dict[str, Callable[[list[UUID]], object]] = {
    "cancel": lambda ids: carry_out(cancel, ids[::-1]),
    "retry": lambda ids: carry_out(retry, ids),
    "reprioritize": lambda ids: carry_out(reprioritize, ids, priority=17),
    "requeue": lambda ids: carry_out(requeue, ids, force=True),
}


@pytest.mark.parametrize("end", [completing, failing], ids=["completing", "failing"])
@pytest.mark.parametrize("name", BULKS)
def test_a_bulk_of_everything_beside_another_and_beside_workers(name, end, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 5)
    for _ in range(3):
        tasks, claims = mixture()
        ids = [task.task_id for task in tasks]
        outcomes = together(
            lambda i=ids: BULKS[name](i),
            lambda i=ids: carry_out(cancel, i[::-1]),
            lambda c=claims: end(c[::2]),
            lambda c=claims: end(c[1::2]),
            lambda: claim_tasks(make_worker(), limit=4),
        )
        unexpected = [each for each in outcomes if isinstance(each, Exception) and not isinstance(each, AbsurdError)]
        assert unexpected == []
        for task in Task.objects.all():
            moves = TaskEvent.objects.filter(task_id=task.task_id).exclude(from_status="").order_by("id")
            last = moves.last()
            assert task.status == (last.to_status if last else "pending")
        Task.objects.all().delete()


def test_a_bulk_beside_operations_on_the_whole_run():
    for _ in range(6):
        runs = [begin(diamond()) for _ in range(3)]
        ids = list(Task.objects.filter(run__in=runs).order_by("id").values_list("task_id", flat=True))
        outcomes = together(
            *(lambda r=run: cancel_run(r.run_id, **WHO) for run in runs),
            lambda i=ids: carry_out(cancel, i[::-1]),
            lambda r=runs[0]: retry_run(r.run_id, **WHO),
        )
        unexpected = [each for each in outcomes if isinstance(each, Exception) and not isinstance(each, AbsurdError)]
        assert unexpected == []
        sweeper.release_due()
