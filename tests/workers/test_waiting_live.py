"""A worker whose database, or whose log, makes it wait: what runs is supervised all the same, and no claim is lost."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, transaction

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import Task, TaskEvent
from tests.workers.live import child_of, finished, gone, outcomes, spawn_one, wait_for, with_progress
from workers import db_connection

pytestmark = pytest.mark.django_db(transaction=True)

SMALL_PIPE_BYTES = 4096


@contextmanager
def locked(table: str) -> Iterator[None]:
    """Hold a lock on a table that nobody can read or write beside."""
    params = connection.get_connection_params()
    wanted = {name: params[name] for name in params if name not in ("cursor_factory", "context")}
    with psycopg.connect(**wanted) as session:
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.parametrize("table", ["tasks_app_task", "tasks_app_attempt", "tasks_app_worker"])
def test_while_a_table_is_locked_timeouts_and_memory_are_enforced_and_no_lease_is_lost(workers, table):
    worker = workers.start("--concurrency", "3")
    good = spawn_one("sleep", {"seconds": 20, "steps": 2})
    late = spawn_one("hang-in-c", timeout_sec=12, max_retries=0)
    greedy = spawn_one("eat-memory", {"memory_gb": 0.8, "step_mb": 1, "hold_sec": 600}, max_retries=0)
    for task in (good, late, greedy):
        with_progress(task)
    children = [child_of(late), child_of(greedy)]
    with locked(table):
        assert not gone(children[0].pid)
        wait_for(lambda: all(gone(child.pid) for child in children))
    assert finished(late).failure_class == "timeout"
    assert finished(greedy).failure_class == "memory"
    assert finished(good).status == "completed" and outcomes(good) == ["completed"]
    assert worker.poll() is None


def test_a_log_that_nobody_reads_holds_up_no_task_and_no_heartbeat(workers):
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, SMALL_PIPE_BYTES)
    try:
        worker = workers.start("--concurrency", "2", log_fd=write_fd, ABSURD_LOG_LEVEL="DEBUG")
        tasks = spawn_many([TaskOptions(task_name="echo", params={"value": n}) for n in range(60)], actor="user:test")
        for task in tasks:
            assert finished(task).status == "completed"
        assert set(Task.objects.values_list("claim_epoch", flat=True)) == {1}
        assert not TaskEvent.objects.filter(event_type="refused").exists()
        assert worker.poll() is None
        assert len(os.read(read_fd, 1 << 16)) > SMALL_PIPE_BYTES // 2
    finally:
        os.close(read_fd)
        os.close(write_fd)


def read(held: db_connection.Link) -> None:
    with held.guarded(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def write_in_vain(held: db_connection.Link) -> None:
    with held.guarded(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("DELETE FROM tasks_app_task")


def test_a_database_that_answers_only_what_reads_is_one_outage(caplog):
    held = db_connection.Link("claiming")
    for _ in range(6):
        write_in_vain(held)
        read(held)
    write_in_vain(held)
    assert not held.up
    assert caplog.text.count(" lost, attempts") == 1 and "25006" in caplog.text
    assert "is back" not in caplog.text
    assert held.wait_sec > 2 * db_connection.FIRST_DELAY_SEC


def test_the_end_of_an_outage_is_reported_once_the_database_has_answered_for_a_while(caplog, monkeypatch):
    monkeypatch.setattr(db_connection, "SETTLED_SEC", 0.0)
    held = db_connection.Link("claiming")
    write_in_vain(held)
    read(held)
    read(held)
    assert held.up and caplog.text.count("restored after") == 1
    write_in_vain(held)
    assert caplog.text.count(" lost, attempts") == 2
