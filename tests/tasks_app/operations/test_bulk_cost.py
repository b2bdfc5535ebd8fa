"""That many tasks cost no more statements than a few, and that a chunk is what is asked at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.models import Task
from tasks_app.operations import bulk
from tasks_app.operations.operation import Pace, Params
from tasks_app.operations.runs import cancel_run, retry_run
from tasks_app.operations.tasks import TaskOperation, cancel, reprioritize, requeue, retry
from tests.tasks_app.notes import REPORT, make_worker
from tests.tasks_app.wire import statements
from tests.tasks_app.workflows.run_plans import begin, fan

pytestmark = pytest.mark.django_db
MOST_A_CHUNK = 20


def spawned(number: int, **options: Any) -> list[Task]:
    return spawn_many(
        [NewTask.of(task_name="note", params={"text": "a"}, **options) for _ in range(number)], actor="user:test"
    )


def with_children(number: int) -> list[Task]:
    parents = spawned(number)
    for parent in parents:
        spawned(2, depends_on=[parent.task_id])
    return parents


def claimed(number: int) -> list[Task]:
    tasks = spawned(number)
    assert len(claim_tasks(make_worker(), limit=number)) == number
    return tasks


def failed(number: int) -> list[Task]:
    tasks = spawned(number, max_retries=0)
    for claim in claim_tasks(make_worker(), limit=number):
        fail_attempt(claim, "error", "boom", REPORT)
    return tasks


CASES: dict[str, tuple[TaskOperation[Any], Callable[[int], list[Task]], dict[str, Any], str]] = {
    "cancel": (cancel, spawned, {}, "cancelled"),
    "cancel parents": (cancel, with_children, {}, "cancelled"),
    "cancel claimed": (cancel, claimed, {}, "asked to stop"),
    "retry": (retry, failed, {}, "returned to the queue"),
    "reprioritize": (reprioritize, spawned, {"priority": 12}, "given priority 12"),
    "requeue": (requeue, claimed, {"force": True}, "returned to the queue"),
}


@pytest.mark.parametrize("case", CASES)
def test_two_hundred_tasks_take_as_many_statements_as_two_chunks(case):
    operation, prepare, given, outcome = CASES[case]

    def cost(number: int) -> int:
        Task.objects.all().delete()
        ids = [task.task_id for task in prepare(number)]
        results = []
        params = operation.params_model(reason="why", **given)
        sent = statements(lambda: results.append(bulk.act_on_many(operation, ids, params, "user:a")))
        assert results[0].outcomes == {outcome: number}
        return sent

    few, many = cost(10), cost(200)
    assert few <= MOST_A_CHUNK
    assert many <= 2 * few


def test_a_run_of_two_hundred_is_cancelled_and_retried_in_as_many_statements_as_a_small_one():
    def cost(number: int) -> list[int]:
        run = begin(fan(number))
        do = {"actor": "user:a", "reason": "why"}
        return [
            statements(lambda: cancel_run(run.run_id, **do)),
            statements(lambda: retry_run(run.run_id, **do)),
        ]

    few, many = cost(4), cost(200)
    assert many == few
    assert max(few) <= MOST_A_CHUNK


def test_progress_is_told_chunk_by_chunk_and_sums_up():
    ids, heard = [task.task_id for task in spawned(bulk.CHUNK + 5)], []
    bulk.act_on_many(cancel, ids, Params(reason="why"), "user:a", pace=Pace(on_progress=heard.append))
    assert heard == [bulk.CHUNK, 5]
