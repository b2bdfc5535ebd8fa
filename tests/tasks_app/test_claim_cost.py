"""What cannot be claimed costs the claim nothing: read from the plans, not from a clock."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from tasks_app.engine import registry
from tasks_app.engine.claim import CLAIM, Room
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.models import Hold, Limit, LimitSlot, Queue, Worker
from tasks_app.postgresql import clock, statements
from tests.tasks_app.notes import make_worker, spawn_note

pytestmark = pytest.mark.django_db

BLOCKED = 100_000
FILL = """
INSERT INTO tasks_app_task (task_id, queue_name, task_name, params, bindings, priority, status, hold, rank,
    memory_gb, cores, runnable_at, timeout_sec, max_retries, retry_count, crash_count, claim_epoch,
    lease_sec, cancel_requested_by, cancel_reason, progress_message, failure_class, stage, created_by, concurrency_key,
    completed_at)
SELECT gen_random_uuid(), %(queue)s, 'note', '{"text": "a"}', '{}', 5, %(status)s, %(hold)s, -n,
    %(memory_gb)s, %(cores)s, %(runnable_at)s::timestamptz, 60, 3, 0, 0, 0, 60, '', '', '', '', '', '', %(key)s,
    %(completed_at)s::timestamptz
FROM generate_series(1, %(n)s) AS n
"""


def fill(n: int = BLOCKED // 5, **columns: object) -> None:
    """Insert tasks of one kind that all stand before anything else by their rank."""
    values = {"queue": "dsa110-pipeline", "status": "pending", "hold": 0, "memory_gb": 1, "key": "", "cores": 1}
    values |= {"runnable_at": "2000-01-01T00:00Z", "completed_at": None, "n": n, **columns}
    with connection.cursor() as cursor:
        cursor.execute(FILL, values)


def buffers(worker: Worker, *, slotted: bool = False, room: Room = Room(cores=4, host_cores=4)) -> int:  # noqa: B008
    """Return how many pages one claim of a task touches, as PostgreSQL tells it."""
    params = {"queues": worker.queues, "worker": worker.pk, "label": "w"}
    params |= {"host_id": worker.host_id, "task_names": registry.names(), "ids": None, "slotted": slotted}
    claim = statements.load(CLAIM, limit=1, columns=("task_id", "claim_token"))
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim}", {**params, **room.columns()})
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


@pytest.mark.parametrize("slotted", [False, True])
def test_100000_blocked_tasks_add_nothing_to_what_a_claim_reads(slotted):
    worker = make_worker()
    for _ in range(20):
        spawn_note()
    before = [buffers(worker, slotted=slotted) for _ in range(3)][-1]
    Queue.objects.create(name="asleep", paused_at="2026-01-01T00:00Z")
    fill(hold=Hold.FUTURE, runnable_at="2100-01-01T00:00Z")
    fill(hold=Hold.DEPENDENCY)
    fill(hold=Hold.LIMIT, key="full")
    fill(queue="asleep")
    fill(status="completed", completed_at="2026-01-01T00:00Z")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    worker.queues = ["dsa110-pipeline", "asleep"]
    after = [buffers(worker, slotted=slotted) for _ in range(3)][-1]
    # The indexes have grown a level, no more: a walk past the blocked would read them by the thousand.
    assert after - before < 50


@pytest.mark.parametrize("needed", [{"cores": 2}, {"memory_gb": 99}], ids=["cores", "memory"])
def test_20000_tasks_larger_than_what_is_free_are_not_walked_through(needed):
    worker = make_worker()
    spawn_note()
    fill(**needed)
    fill(n=BLOCKED, status="completed", completed_at="2026-01-01T00:00Z")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    # They are passed over inside the index: its pages are read, and not one of the rows' own.
    assert [buffers(worker, room=Room(cores=1, host_cores=4, memory_gb=8.0)) for _ in range(3)][-1] < 700


def test_a_usual_round_of_sweeps_reads_no_more_than_what_is_due(django_assert_max_num_queries):
    Queue.objects.create(name="dsa110-pipeline")
    limit = Limit.objects.create(scope="key", name="full", size=1)
    LimitSlot.objects.create(limit=limit, number=1, task_id="00000000-0000-0000-0000-000000000001")
    fill(hold=Hold.FUTURE, runnable_at="2100-01-01T00:00Z")
    fill(hold=Hold.LIMIT, key="full")
    fill(status="completed", completed_at=clock.now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    with connection.cursor() as cursor:
        sweeper = Sweeper()
        sweeper.sweep()
        cursor.execute("SELECT pg_stat_get_xact_tuples_returned('tasks_app_task'::regclass)")
        (scanned_before,) = cursor.fetchone()
        with django_assert_max_num_queries(40):
            sweeper.sweep()
        cursor.execute("SELECT pg_stat_get_xact_tuples_returned('tasks_app_task'::regclass)")
        (scanned,) = cursor.fetchone()
    assert scanned - scanned_before < 1000


def test_tasks_of_unknown_names_in_front_are_passed_over_in_the_order_of_the_index():
    worker = make_worker()
    for _ in range(20):
        spawn_note()
    before = [buffers(worker) for _ in range(3)][-1]
    fill(n=2000)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_app_task SET task_name = 'of-tomorrow' WHERE rank < 0")
        cursor.execute("ANALYZE tasks_app_task")
    # Each is read once, from the index and from its page; nothing is sorted and no other index is walked.
    assert [buffers(worker) for _ in range(3)][-1] - before < 2 * 2000
