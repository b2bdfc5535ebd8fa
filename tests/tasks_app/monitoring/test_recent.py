"""Rates and percentiles against the same figures worked out from the rows, and what they cost."""

from __future__ import annotations

from datetime import timedelta
from statistics import quantiles

import pytest
from django.db import connection

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.errors import LostClaim
from tasks_app.models import Task
from tasks_app.monitoring import queues, rates
from tasks_app.operations.tasks import cancel, retry
from tasks_app.postgresql import clock
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db


def set_clock(moment) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, true)", [moment.isoformat()])


@pytest.fixture
def noon():
    """Freeze the queue's clock; the value returned moves it on by a number of seconds."""
    start = clock.now().replace(microsecond=0)

    def at(sec: float):
        set_clock(start + timedelta(seconds=sec))
        return start + timedelta(seconds=sec)

    at(0)
    return at


def test_without_rows_there_are_no_figures():
    finished, attempts, refused = rates.finished(), rates.attempts(), rates.refused()
    assert (finished.rows, finished.by_task_name, finished.by_queue) == (0, {}, {})
    assert (attempts.rows, attempts.by_task_name) == (0, {})
    assert (refused.rows, refused.over_sec) == (0, rates.WINDOW_SEC)
    nothing = rates.Finished()
    assert (nothing.failure_rate, nothing.wait_sec.p50, rates.Attempts().retry_rate) == (None, None, None)
    assert nothing.throughput(finished.over_sec)["15m"] == rates.Throughput(tasks_per_sec=0.0, over_sec=900)
    assert queues.oldest_pending(["dsa110-pipeline"]) == {}


def test_throughput_wait_and_run_time_are_those_of_the_rows(noon, worker):
    waits, runs = [], []
    for n in range(20):
        start = 100.0 * n
        noon(start)
        spawn_note(queue_name="dsa110-pipeline")
        noon(start + n)
        claim = claim_one(worker)
        noon(start + n + 2 * n + 1)
        complete_task(claim, {}, REPORT)
        waits.append(float(n))
        runs.append(2.0 * n + 1)
    noon(1958.0)  # the last one was completed a second ago
    finished, attempts = rates.finished(), rates.attempts()
    figures, tried = finished.by_task_name["note"], attempts.by_task_name["note"]
    assert (figures.completed, figures.failed, figures.failure_rate) == (20, 0, 0.0)
    ends = [100.0 * n + waits[n] + runs[n] for n in range(20)]
    for label, sec in rates.THROUGHPUT_SEC.items():
        expected = sum(end > 1958 - sec for end in ends) / sec
        assert finished.by_queue["dsa110-pipeline"].throughput(finished.over_sec)[label].tasks_per_sec == expected > 0
    for found, values in ((figures.wait_sec, waits), (tried.run_sec, runs)):
        cuts = quantiles(values, n=100, method="inclusive")
        assert (found.p50, found.p95, found.p99) == pytest.approx((cuts[49], cuts[94], cuts[98]))
    assert (tried.ended, tried.retry_rate) == (20, 0.0)


def test_waiting_counts_from_when_only_the_queue_kept_the_task(noon, worker):
    parent = spawn_note()
    child = spawn_note(depends_on=[parent.task_id])
    noon(50)
    complete_task(claim_one(worker), {}, REPORT)
    noon(53)
    claim = claim_one(worker)
    assert claim.task_id == child.task_id
    noon(60)
    fail_attempt(claim, "drained", "stopping", REPORT)
    noon(64)
    complete_task(claim_one(worker), {}, REPORT)
    Task.objects.filter(pk=parent.pk).delete()
    assert rates.finished().by_task_name["note"].wait_sec.p50 == 4.0


def test_failures_retries_and_cancellations_are_distinguished(noon, worker):
    for _ in range(3):
        spawn_note(max_retries=0)
        complete_task(claim_one(worker), {}, REPORT)
    failed = spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "error", "no", REPORT)
    cancel(spawn_note().task_id, actor="user:test", reason="")
    tried_again = spawn_note(max_retries=1)
    fail_attempt(claim_one(worker), "timeout", "slow", REPORT)
    figures, tried = rates.finished().by_task_name["note"], rates.attempts().by_task_name["note"]
    assert (figures.completed, figures.failed, figures.cancelled) == (3, 1, 1)
    assert (figures.failure_rate, tried.ended, tried.retried, tried.retry_rate) == (0.25, 5, 1, 0.2)
    retry(failed.task_id, actor="user:test")
    assert rates.attempts().by_task_name["note"].retried == 2
    assert rates.finished().by_task_name["note"].failed == 0
    assert tried_again.task_id != failed.task_id


def test_refused_late_writes_are_counted(worker):
    spawn_note()
    claim = claim_one(worker)
    complete_task(claim, {}, REPORT)
    for _ in range(2):
        with pytest.raises(LostClaim):
            complete_task(claim, {}, REPORT)
    assert rates.refused().rows == 2


def test_what_ended_more_than_a_day_ago_is_out_of_the_window(noon, worker):
    spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    noon(rates.WINDOW_SEC - 1)
    assert (rates.finished().rows, rates.attempts().rows) == (1, 1)
    noon(rates.WINDOW_SEC + 1)
    assert (rates.finished().rows, rates.attempts().rows) == (0, 0)


def test_when_rows_run_out_the_rate_is_over_the_time_they_span(noon, worker, monkeypatch):
    monkeypatch.setattr(rates, "WINDOW_ROWS", 4)
    for n in range(10):
        noon(5.0 * n)
        spawn_note()
        complete_task(claim_one(worker), {}, REPORT)
    noon(50.0)
    finished = rates.finished()
    assert (finished.rows, finished.over_sec) == (4, 20.0)
    throughput = finished.by_queue["dsa110-pipeline"].throughput(finished.over_sec)
    assert throughput["1m"] == rates.Throughput(tasks_per_sec=0.2, over_sec=20.0)
    noon(45.0)
    monkeypatch.setattr(rates, "WINDOW_ROWS", 1)
    finished = rates.finished()
    assert finished.by_queue["dsa110-pipeline"].throughput(finished.over_sec)["1m"].tasks_per_sec is None


def test_the_oldest_pending_task_is_found_in_each_line(noon):
    spawn_note(priority=1, queue_name="other")
    noon(30)
    spawn_note(priority=20, queue_name="other")
    spawn_note(priority=17)
    noon(40)
    spawn_note(priority=14)
    noon(100)
    assert queues.oldest_pending(["dsa110-pipeline", "other", "none"]) == {"dsa110-pipeline": 70.0, "other": 100.0}


# Cost

FINISHED_ROWS, PENDING_ROWS = 50_000, 20_000


@pytest.fixture
def full_tables(db, worker):
    """Many finished and pending tasks, not in the order of their times, and the planner knows of none of them."""
    template = spawn_note()
    copied = [f.column for f in Task._meta.fields if f.column not in ("id", "task_id")]
    changes = {
        "finished": "status='completed', completed_at=absurd_now() - age, claim_epoch=1,"
        "claimed_at=absurd_now() - age - interval '2 s', runnable_at=absurd_now() - age - interval '5 s'",
        "pending": "runnable_at=absurd_now() - age, rank=rank + n",
    }
    with connection.cursor() as cursor:
        for kind, rows in (("finished", FINISHED_ROWS), ("pending", PENDING_ROWS)):
            cursor.execute(
                f"""
                CREATE TEMP TABLE made_{kind} ON COMMIT DROP AS
                SELECT task.*, n, (n * 7919 %% 80000) * interval '1 s' AS age
                FROM tasks_app_task AS task, generate_series(1, %s) AS n WHERE task.id = %s
                """,
                [rows, template.pk],
            )
            cursor.execute(f"UPDATE made_{kind} SET task_id = gen_random_uuid(), {changes[kind]}")
            columns = ", ".join(copied)
            cursor.execute(
                f"INSERT INTO tasks_app_task (task_id, {columns}) SELECT task_id, {columns} FROM made_{kind}"
            )
        cursor.execute(
            """
            INSERT INTO tasks_app_attempt (task_id, number, claim_token, started_at, ended_at, outcome,
                error, traceback, signal, log_path, log_tail, directory)
            SELECT task_id, 1, gen_random_uuid(), claimed_at, completed_at, 'completed', '', '', '', '', '', ''
            FROM made_finished
            """
        )


def plans_of(work) -> list[dict]:
    """Return the executed plan of each query that the work sends."""
    explained: list[dict] = []

    def explain(execute, sql, params, many, context):
        if sql.lstrip().startswith(("WITH", "SELECT")) and "set_config" not in sql and "current_setting" not in sql:
            with connection.cursor() as cursor:
                inner = cursor.cursor
                inner.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, params)
                explained.append(inner.fetchone()[0][0]["Plan"])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        work()
    return explained


def nodes(plan: dict) -> list[dict]:
    return [plan, *(inner for child in plan.get("Plans", []) for inner in nodes(child))]


def buffers(plan: dict) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def explained(sql: str, params: dict) -> dict:
    (plan,) = plans_of(lambda: connection.cursor().execute(sql, params))
    return plan


def test_figures_cost_no_more_the_more_there_is(full_tables):
    for work in (rates.finished, rates.attempts, rates.refused):
        (plan,) = plans_of(work)
        assert not [node for node in nodes(plan) if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")], plan
        scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("tasks_app_")]
        assert scans
        assert all(node["Actual Rows"] * node["Actual Loops"] <= rates.WINDOW_ROWS for node in scans)
        assert buffers(plan) <= 8 * rates.WINDOW_ROWS
    assert rates.finished().rows == rates.WINDOW_ROWS

    assert queues.queue_stats(["dsa110-pipeline"])[0]["completed"] == FINISHED_ROWS
    plan = explained(queues._COUNTS, {"names": ["dsa110-pipeline"]})
    tables = {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}
    assert tables == {"tasks_app_queuecount", "tasks_app_countdelta"}
    assert buffers(plan) < 20

    plan = explained(queues._OLDEST, queues._oldest_params(["dsa110-pipeline"]))
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "tasks_app_task"]
    assert {node.get("Index Name") for node in scans} == {"task_claimable"}
    assert buffers(plan) < 3 * queues.LINE_MOST
