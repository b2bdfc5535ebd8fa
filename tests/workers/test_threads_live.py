"""Tasks in threads of a real worker, and the wake-up by which it hears of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django_tasks import TaskResultStatus

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import Attempt, Task, TaskEvent, Worker
from tasks_app.operations.tasks import cancel
from tests.tasks_app.django_tasks_backend import django_functions as functions
from tests.workers.live import LiveWorkers, finished, outcomes, spawn_one, wait_for, with_progress

pytestmark = pytest.mark.chaos

TRACE = """
CREATE TABLE traced (event_type text, transaction bigint);
CREATE FUNCTION trace() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO traced VALUES (NEW.event_type, txid_current()); RETURN NULL; END $$;
CREATE TRIGGER trace AFTER INSERT ON tasks_app_taskevent FOR EACH ROW EXECUTE FUNCTION trace();
"""
REFUSE = """
CREATE OR REPLACE FUNCTION trace() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO traced VALUES (NEW.event_type, txid_current());
    IF NEW.event_type = 'claimed' AND EXISTS (
        SELECT FROM traced WHERE transaction = txid_current() AND event_type = 'completed'
    ) THEN RAISE EXCEPTION 'no claim after a completion' USING ERRCODE = 'check_violation'; END IF;
    RETURN NULL;
END $$
"""
UNTRACE = """
DROP TRIGGER IF EXISTS trace ON tasks_app_taskevent; DROP FUNCTION IF EXISTS trace(); DROP TABLE IF EXISTS traced;
"""
SHARED = """
SELECT count(*) FROM (
    SELECT FROM traced GROUP BY transaction HAVING array_agg(DISTINCT event_type) @> '{claimed,completed}'
) AS shared
"""


@pytest.fixture
def traced(workers) -> Iterator[None]:
    """Keep the transaction of each event."""
    with connection.cursor() as cursor:
        cursor.execute(TRACE)
        yield
        workers.kill_all()
        cursor.execute(UNTRACE)


@pytest.mark.parametrize(("name", "params", "tasks", "least"), [("noop", {}, 20, 5), ("echo", {"value": 1}, 4, 2)])
def test_completions_share_their_transaction_with_the_next_claim(workers, traced, name, params, tasks, least):
    spawn_many([TaskOptions(task_name=name, params=params) for _ in range(tasks)], actor="user:test")
    workers.burst("--concurrency", "1")
    assert Task.objects.filter(status="completed", claim_epoch=1).count() == tasks
    with connection.cursor() as cursor:
        cursor.execute(SHARED)
        assert cursor.fetchone()[0] >= least


def test_where_the_next_claim_fails_completions_are_stored_all_the_same(workers, traced):
    with connection.cursor() as cursor:
        cursor.execute(REFUSE)
    spawn_many([TaskOptions(task_name="noop") for _ in range(6)], actor="user:test")
    workers.burst("--concurrency", "2")
    assert Task.objects.filter(status="completed", claim_epoch=1).count() == 6
    assert "storing outcomes together failed" in workers.logs()
    assert not TaskEvent.objects.filter(event_type="refused").exists()


def test_many_short_tasks_each_run_once_and_are_stored_together(workers):
    spawn_many([TaskOptions(task_name="noop") for _ in range(500)], actor="user:test")
    workers.burst("--concurrency", "10")
    assert Task.objects.filter(status="completed", claim_epoch=1).count() == 500
    assert Attempt.objects.filter(outcome="completed").count() == 500
    moments = TaskEvent.objects.filter(event_type="completed").values_list("created_at", flat=True)
    assert len(set(moments)) <= 250


def test_a_thread_fails_publishes_and_reports_as_a_process_does(workers):
    made = spawn_one("thread-echo", {"value": 7, "outputs": {"a/table.txt": "fluxes"}})
    error = spawn_one("thread-fail", {"message": "no such antenna"}, max_retries=1)
    invalid = spawn_one("thread-fail", {"failure": "invalid", "message": "not a tile"})
    nothing = spawn_one("thread-fail", {"failure": "no_work", "message": "nothing new"})
    workers.burst("--concurrency", "4")
    for task in (made, error, invalid, nothing):
        task.refresh_from_db()
    (path,) = made.result["paths"]
    assert Path(path).read_text() == "fluxes"
    assert (made.result["value"], outcomes(error)) == (7, ["error", "error"])
    assert "no such antenna" in Attempt.objects.filter(task_id=error.task_id).first().traceback
    assert (invalid.status, invalid.failure_class, nothing.status) == ("failed", "invalid", "completed")


def test_a_thread_that_overstays_is_given_up_and_its_place_taken(workers):
    stuck = spawn_one("thread-sleep", {"seconds": 200, "steps": 1}, timeout_sec=2, max_retries=0)
    wanted = spawn_one("thread-sleep", {"seconds": 200, "steps": 1})
    worker = workers.start("--concurrency", "2")
    assert finished(stuck).failure_class == "timeout"
    with_progress(wanted)
    cancel(wanted.task_id, actor="user:test")
    assert finished(wanted).status == "cancelled"
    after = [spawn_one("noop") for _ in range(4)]
    assert {finished(task).status for task in after} == {"completed"}
    assert worker.poll() is None


def test_an_idle_worker_hears_of_new_work_long_before_it_would_look(workers):
    workers.start("--poll-interval", "30")
    wait_for(lambda: Worker.objects.filter(stopped_at=None).exists())
    waits = []
    for _ in range(5):
        time.sleep(0.3)
        task = finished(spawn_one("noop"))
        waits.append(task.claimed_at - task.created_at)
    assert max(waits) < timedelta(seconds=1)


def test_a_worker_that_only_polls_finds_work_without_a_wake_up(workers):
    workers.start(ABSURD_POLL_ONLY="true")
    assert finished(spawn_one("noop")).status == "completed"


def test_a_worker_runs_djangos_tasks(workers: LiveWorkers):
    added, awaited = functions.add.enqueue(1, right=2), functions.add_later.enqueue(3, 4)
    counted, introduced = functions.count_queues.enqueue(), functions.who_am_i.enqueue("hello")
    failed, skipped = functions.fail.enqueue("boom"), functions.fail_strangely.enqueue("no_work")
    workers.burst("--concurrency", "3")
    for result in (added, awaited, counted, introduced, failed, skipped):
        result.refresh()
    assert (added.return_value, awaited.return_value, counted.return_value) == (3, 7, 1)
    assert introduced.return_value["workers"] == introduced.worker_ids == ["worker-1"]
    assert (skipped.status, skipped.return_value) == (TaskResultStatus.SUCCESSFUL, None)
    assert (failed.status, failed.attempts) == (TaskResultStatus.FAILED, 1)
    assert failed.errors[0].exception_class is functions.Broken
    assert failed.errors[0].traceback.endswith("django_functions.Broken: boom\n")
