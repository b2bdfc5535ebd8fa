"""The comparison is only worth something while raw writes what ours does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from absurd_project.benchmark import load, queue
from absurd_project.benchmark.load import Contender, Ours
from absurd_project.benchmark.sql_cost import of_one_claim, touched
from tasks_app.engine import registry
from tasks_app.models import Attempt, CountDelta, Queue, Task, TaskEvent, Worker
from tests.benchmark import contenders
from tests.benchmark.contenders import Bare, Raw

pytestmark = pytest.mark.django_db(transaction=True)

MOMENTS = {"created_at", "runnable_at", "claimed_at", "completed_at", "lease_until", "started_at", "ended_at"}
OWN = {"id", "task_id", "claim_token", "rank"}


@pytest.fixture
def worker() -> Iterator[Worker]:
    load.register()
    Queue.objects.create(name=load.QUEUE)
    yield Worker.objects.create(
        label=load.worker_label(0), host="test", host_id="test", pid=1, queues=[load.QUEUE], concurrency=10
    )
    registry._specs.pop(load.NAME)


@pytest.fixture
def raw(worker: Worker, live_environment: dict[str, str]) -> Iterator[Raw]:
    contender = Raw(live_environment["ABSURD_DATABASE_URL"], worker)
    yield contender
    contender._database.close()


@pytest.fixture
def bare_table(live_environment: dict[str, str], worker: Worker) -> Iterator[Bare]:
    contenders.prepare()
    contender = Bare(live_environment["ABSURD_DATABASE_URL"], worker)
    yield contender
    contender._database.close()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {contenders.TABLE}")


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row with whether there is a value in place of what differs from task to task."""
    shown = {name: (value is not None if name in MOMENTS | OWN else value) for name, value in row.items()}
    if isinstance(shown.get("detail"), dict):
        shown["detail"] = {"update": {**shown["detail"]["update"]}}
        for moment in MOMENTS & shown["detail"]["update"].keys():
            shown["detail"]["update"][moment] = len(shown["detail"]["update"][moment])
    return shown


def written_by(contender: Contender) -> list[Any]:
    """All rows after each step of two tasks' lives."""
    states = []

    def note() -> None:
        queries = (Task, Attempt, TaskEvent, CountDelta)
        states.append([[plain(row) for row in model.objects.order_by("id").values()] for model in queries])

    contender.spawn_one()
    contender.spawn_many(2)
    note()
    claims = contender.claim(2)
    note()
    contender.complete(claims)
    note()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE tasks_app_task, tasks_app_attempt, tasks_app_taskevent, tasks_app_countdelta CASCADE")
    return states


def test_raw_writes_the_rows_that_ours_does(worker: Worker, raw: Raw):
    ours = written_by(Ours(worker))
    assert [len(rows) for rows in ours[-1]] == [3, 2, 7, len(ours[-1][3])]
    assert written_by(raw) == ours


def test_each_contender_moves_every_task_once(worker: Worker, raw: Raw, bare_table: Bare):
    for contender in (Ours(worker), raw, bare_table):
        contender.spawn_many(25)
        seen: list[Any] = []
        while claims := contender.claim(10):
            contender.complete(claims)
            seen += claims
        assert len(seen) == 25
    assert Task.objects.filter(status="completed").count() == 50


def test_the_tables_are_filled_with_whole_histories_and_topped_up(worker: Worker, bare_table: Bare):
    load.fill(20)
    contenders.fill(20)
    finished = Task.objects.filter(status="completed")
    assert finished.count() == load.HISTORY
    ids = set(finished.values_list("task_id", flat=True))
    assert set(Attempt.objects.filter(outcome="completed").values_list("task_id", flat=True)) == ids
    assert TaskEvent.objects.filter(task_id__in=list(ids)[:10]).count() == 30
    contender = Ours(worker)
    contender.complete(contender.claim(15))
    bare_table.complete(bare_table.claim(5))
    queue._top_up(20)
    assert Task.objects.filter(status="pending").count() == 20
    assert len(bare_table.claim(100)) == 20


def test_a_claim_is_explained_and_undone(worker: Worker):
    load.add_pending(50)
    contender = Ours(worker)
    assert of_one_claim(lambda: contender.claim(1)) > 10
    assert not Task.objects.exclude(status="pending").exists()


def test_the_pages_of_clauses_that_nobody_reads_are_added():
    read = {"Node Type": "ModifyTable", "Subplan Name": "CTE a", "Shared Hit Blocks": 5, "Shared Read Blocks": 0}
    unread = {"Node Type": "ModifyTable", "Subplan Name": "CTE b", "Shared Hit Blocks": 7, "Shared Read Blocks": 1}
    scan = {"Node Type": "CTE Scan", "CTE Name": "a", "Shared Hit Blocks": 5, "Shared Read Blocks": 0}
    top = {"Node Type": "Sort", "Shared Hit Blocks": 6, "Shared Read Blocks": 0, "Plans": [read, unread, scan]}
    assert touched(top) == 6 + 8


def test_task_ids_of_raw_are_those_of_tasks(raw: Raw):
    raw.spawn_many(3)
    claimed = {row[0] for row in raw.claim(3)}
    assert claimed == set(Task.objects.values_list("task_id", flat=True))
    assert all(isinstance(task_id, UUID) for task_id in claimed)
