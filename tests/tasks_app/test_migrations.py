"""Upgrades: rows of the first schema live on, and processes of both versions may run side by side."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tasks_app.engine import worker_calls
from tasks_app.models import CountDelta, QueueCount, Task
from tasks_app.monitoring import stats
from tests.tasks_app.notes import REPORT, make_worker, spawn_note

FIRST = [("tasks_app", "0002_storage")]

OLD_INSERT = """
INSERT INTO tasks_app_task (task_id, queue_name, task_name, params, bindings, priority, status, hold, rank,
    memory_class, memory_gb, cores, runnable_at, timeout_sec, max_retries, retry_count, crash_count, claim_epoch,
    lease_sec, cancel_requested_by, cancel_reason, progress_message, failure_class, stage, created_by, completed_at)
VALUES (%s, 'dsa110-pipeline', 'note', '{"text": "old"}', '{}', 5, %s, 0, 1, 0, 1, 1, now(), 60, 3, 0, 0, 0, 60,
    '', '', '', '', '', 'user:old', %s)
"""
"""A task as the first version wrote it."""


def insert_as_before(status: str = "pending") -> uuid.UUID:
    task_id = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tasks_app_queue (name, description, paused_by, pause_reason) VALUES "
            "('dsa110-pipeline', '', '', '') ON CONFLICT DO NOTHING"
        )
        cursor.execute(OLD_INSERT, [task_id, status, "2026-01-01T00:00Z" if status == "completed" else None])
    return task_id


def migrate_to_latest() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.fixture
def first_schema(transactional_db: None) -> Iterator[None]:
    MigrationExecutor(connection).migrate(FIRST)
    yield
    migrate_to_latest()


def test_tasks_of_the_first_schema_are_counted_and_claimed_after_the_upgrade(first_schema):
    pending, _ = insert_as_before(), insert_as_before("completed")
    migrate_to_latest()
    assert stats.queue_stats(["dsa110-pipeline"])[0] == {
        "queue_name": "dsa110-pipeline",
        "pending": 1,
        "claimed": 0,
        "completed": 1,
        "failed": 0,
        "cancelled": 0,
        "total": 2,
    }
    (claim,) = worker_calls.claim(make_worker(), limit=5)
    assert claim.task_id == pending
    worker_calls.complete(claim, {}, REPORT)
    assert {count.status: count.count for count in QueueCount.objects.all()} == {"pending": 1, "completed": 1}
    assert sum(delta.delta for delta in CountDelta.objects.filter(status="completed")) == 1


@pytest.mark.django_db(transaction=True)
def test_an_old_process_still_spawns_into_the_new_schema(worker):
    task_id = insert_as_before()
    (claim,) = worker_calls.claim(worker, limit=5)
    assert claim.task_id == task_id
    assert Task.objects.get().limit_key == ""


@pytest.mark.django_db
def test_the_models_and_the_migrations_agree(worker):
    spawn_note()
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
