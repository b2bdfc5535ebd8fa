"""What many tasks become at once is what each would have become alone: every column, every event."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import Max
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import Join
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.errors import AbsurdError
from tasks_app.models import Attempt, LimitSlot, Run, Task, TaskEvent, Worker
from tasks_app.monitoring import queues
from tasks_app.operations import bulk
from tasks_app.operations.catalogue import TASK_OPERATIONS
from tasks_app.operations.queues import set_limit
from tasks_app.operations.tasks import cancel
from tasks_app.postgresql import clock
from tasks_app.testing import frozen_clock
from tests.tasks_app.notes import REPORT, make_worker

pytestmark = pytest.mark.django_db
ACTOR = "user:alice"
WISHES: list[dict[str, Any]] = [
    {"operation": "cancel"},
    {"operation": "retry"},
    {"operation": "reprioritize", "priority": 17},
    {"operation": "requeue"},
    {"operation": "requeue", "force": True},
]


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def scene(chance: random.Random) -> None:
    """Tasks of every status, some in a run, some under a limit, many behind others."""
    set_limit("key", "antenna", size=2, actor=ACTOR)
    run = Run.objects.create(workflow="any", created_by=ACTOR)
    workers = [make_worker(label="a"), make_worker(label="b")]
    made: list[UUID] = []
    for _ in range(chance.randint(6, 14)):
        made.append(spawn_one(chance, made, run))
        if chance.random() < 0.5:
            work(chance, chance.choice(workers))
        if chance.random() < 0.15:
            end_one(chance)
    Worker.objects.filter(label="b").update(stopped_at=clock.DatabaseNow())
    late = chance.sample(made, len(made) // 3)
    Task.objects.filter(status="claimed", task_id__in=late).update(lease_until=clock.now() - timedelta(seconds=5))


def spawn_one(chance: random.Random, made: list[UUID], run: Run) -> UUID:
    parents = chance.sample(made, min(len(made), chance.choice([0, 0, 1, 1, 2, 3])))
    join = None
    if parents and chance.random() < 0.4:
        join = Join(quorum=chance.randint(1, len(parents)), deadline_sec=chance.choice([None, 900.0]))
    request = NewTask.of(
        task_name="note",
        params={"text": "a"},
        priority=chance.randint(1, 20),
        max_retries=chance.choice([0, 1, 3]),
        depends_on=parents,
        join=join,
        concurrency_key=chance.choice(["", "", "antenna"]),
        run=chance.choice([None, run]),
        total_timeout_sec=chance.choice([None, 3.0, 90_000.0]),
    )
    return spawn(request, actor=ACTOR).task_id


def work(chance: random.Random, worker: Worker) -> None:
    for claim in claim_tasks(worker, limit=2):
        end = chance.choice(["", "", "completed", "error", "invalid", "invalid", "killed", "memory"])
        if end == "completed":
            complete_task(claim, {"text": "done"}, REPORT)
        elif end:
            fail_attempt(claim, end, f"it was {end}", REPORT)


def end_one(chance: random.Random) -> None:
    ids = list(Task.objects.order_by("id").values_list("task_id", flat=True))
    try:
        cancel(chance.choice(ids), actor=ACTOR, reason="not wanted")
    except AbsurdError:
        return


def picture(last_event: int) -> dict[str, Any]:
    """Every row, apart from the numbers of events, which sequences never draw again."""
    fresh = TaskEvent.objects.filter(id__gt=last_event).order_by("task_id", "id")
    return {
        "tasks": list(Task.objects.order_by("id").values()),
        "attempts": list(Attempt.objects.order_by("task_id", "number").values()),
        "events": [{**row, "id": None} for row in fresh.values()],
        "slots": list(LimitSlot.objects.order_by("limit", "number").values_list("limit", "number", "task_id")),
        "counts": queues.task_counts(["dsa110-pipeline"]),
    }


def without_name(wish: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wish.items() if name != "operation"}


def one_by_one(ids: list[UUID], wish: dict[str, Any]) -> list[tuple[UUID, str]]:
    operation, given = TASK_OPERATIONS[wish["operation"]], without_name(wish)
    outcomes = []
    for task_id in ids:
        try:
            task = operation(task_id, actor=ACTOR, reason="because", **given)
            outcomes.append((task_id, operation.outcome(task)))
        except AbsurdError as error:
            outcomes.append((task_id, bulk.TaskResult(task_id=task_id, refusal=error).why))
    return outcomes


def at_once(ids: list[UUID], wish: dict[str, Any]) -> list[tuple[UUID, str]]:
    operation = TASK_OPERATIONS[wish["operation"]]
    params = operation.params_model(reason="because", **without_name(wish))
    chunks = bulk.Chunks(operation=operation, params=params, actor=ACTOR)
    return [(each.task_id, each.outcome or each.why) for chunk in chunks.each(ids) for each in chunk]


def result_of(
    act: Callable[[list[UUID], dict[str, Any]], list[tuple[UUID, str]]], ids: list[UUID], wish: dict[str, Any]
) -> tuple[list[tuple[UUID, str]], dict[str, Any]]:
    last = TaskEvent.objects.aggregate(last=Max("id"))["last"]
    with undone():
        random.seed(7)  # how long a task backs off is drawn by chance
        return act(ids, wish), picture(last)
    raise AssertionError


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: "-".join(map(str, wish.values())))
def test_many_at_once_become_what_each_would_alone(wish):
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 10**6))
    def check(seed):
        with undone():
            chance = random.Random(seed)
            random.seed(seed)
            scene(chance)
            ids = list(Task.objects.order_by("id").values_list("task_id", flat=True))
            chosen = [task_id for task_id in ids if chance.random() < 0.8]
            if TASK_OPERATIONS[wish["operation"]].children_first:
                chosen.reverse()
            outcomes_alone, alone = result_of(one_by_one, chosen, wish)
            outcomes_together, together = result_of(at_once, chosen, wish)
            assert outcomes_together == outcomes_alone
            for name, rows in alone.items():
                assert together[name] == rows, name

    with frozen_clock():
        check()
