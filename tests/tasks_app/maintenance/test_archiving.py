"""What goes to the archive, what stays, and that nothing is lost on the way."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import uuid4

import pytest
from django.db import connection, transaction

from tasks_app.engine import archive
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.errors import TaskArchived
from tasks_app.maintenance import archiving
from tasks_app.maintenance.archiving import RetentionSweep, archive_batch
from tasks_app.models import ArchivedTask, Attempt, Run, Task, TaskDependency, TaskEvent, Worker
from tasks_app.monitoring import queues
from tasks_app.operations.prune import preview, prune
from tasks_app.operations.tasks import retry
from tests.tasks_app.finished import POLICY, completed, days_ago, failed
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note
from tests.tasks_app.test_races import together

pytestmark = pytest.mark.django_db


def do_prune(**options):
    return prune(POLICY.narrowed(**options), actor="user:test").moved


def is_archived(task: Task) -> bool:
    """Whether the task is in the archive alone, with all that belongs to it."""
    archived = ArchivedTask.objects.filter(task_id=task.task_id).exists()
    live = [model.objects.filter(task_id=task.task_id).exists() for model in (Task, Attempt, TaskEvent)]
    assert not (archived and any(live))
    return archived


def columns_of(instance) -> dict:
    return {field.attname: getattr(instance, field.attname) for field in instance._meta.concrete_fields}


def test_old_tasks_go_and_failures_stay_longer():
    old, young, failure, old_failure = completed(31), completed(29), failed(89), failed(91)
    assert do_prune() == {("dsa110-pipeline", "completed"): 1, ("dsa110-pipeline", "failed"): 1}
    assert [is_archived(task) for task in (old, young, failure, old_failure)] == [True, False, False, True]


def test_an_unfinished_task_never_goes_however_old():
    with days_ago(400):
        pending, claimed = spawn_note(), spawn_note(priority=20)
        claim_one(make_worker())
    assert not do_prune()
    assert not is_archived(pending)
    assert not is_archived(claimed)


def test_everything_comes_back_as_it_was():
    run = Run.objects.create(workflow="standard-pipeline")
    worker = make_worker(label="worker-7", host="corr-1")
    with days_ago(40):
        spawn_note(run=run, stage="calibration-solve", params={"text": 'é " \\ \u2028', "copies": 3}, max_retries=5)
        fail_attempt(claim_one(worker), "error", "boom", AttemptReport(cpu_sec=0.1, peak_rss_bytes=2**40))
        Task.objects.update(hold=0)
        claim = claim_one(worker)
        report_progress(claim, fraction=1 / 3, message="a third")
        result = {"none": None, "deep": [{"x": 0.1 + 0.2}, 2**53 + 1, ""], "flux_jy": 1e-300}
        complete_task(claim, result, AttemptReport(log_tail="line\n", exit_code=0))
    task = Task.objects.select_related("worker", "run").get()
    Task.objects.filter(pk=task.pk).update(
        claimed_at="2024-02-29T12:00:00.000001Z",
        unrunnable_because=uuid4(),
        memory_gb=0.1,
        rank=-(2**62),
        progress=None,
    )
    task.refresh_from_db()
    attempts = list(Attempt.objects.order_by("number"))
    events = list(TaskEvent.objects.order_by("id"))
    do_prune()
    found = archive.find_task(task.task_id)
    assert columns_of(found) == columns_of(task)
    assert found.claimed_at.microsecond == 1
    assert (found.run.run_id, found.worker.label, found.archived) == (run.run_id, "worker-7", True)
    assert [columns_of(each) for each in archive.attempts_of(task.task_id)] == [columns_of(each) for each in attempts]
    assert [columns_of(each) for each in archive.events_of(task.task_id)] == [columns_of(each) for each in events]
    row = ArchivedTask.objects.get()
    assert (row.pk, row.run_id, row.last_event_id) == (task.pk, run.run_id, events[-1].pk)
    assert (row.queue_name, row.task_name, row.status) == ("dsa110-pipeline", "note", "completed")
    assert (row.created_at, row.completed_at) == (task.created_at, task.completed_at)


@pytest.mark.parametrize(("column", "value"), [("cpu_sec", float("inf")), ("cpu_sec", None), ("exit_code", -(2**31))])
def test_the_extremes_of_a_column_survive(column, value):
    task = completed(40)
    Attempt.objects.update(**{column: value})
    do_prune()
    (attempt,) = archive.attempts_of(task.task_id)
    assert getattr(attempt, column) == value


def test_an_old_document_is_read_after_a_column_was_added_and_another_dropped():
    task = completed(40)
    do_prune()
    row = ArchivedTask.objects.get()
    for column in ("concurrency_key", "bindings", "idle_timeout_sec", "cores", "progress_message"):
        del row.task[column]
    row.task["colour"] = "green"
    row.save()
    found = archive.find_task(task.task_id)
    assert (found.concurrency_key, found.bindings, found.idle_timeout_sec, found.cores) == ("", {}, None, 1)
    assert found.progress_message == ""
    assert not hasattr(found, "colour")


def test_the_archive_still_names_a_worker_whose_row_has_gone():
    task = completed(40)
    do_prune()
    Worker.objects.all().delete()
    (attempt,) = archive.attempts_of(task.task_id)
    assert str(attempt.worker) == "worker-1@test"
    assert archive.find_task(task.task_id).worker.label == "worker-1"


def test_a_run_stays_until_its_last_task_is_finished_and_old():
    run = Run.objects.create(workflow="standard-pipeline")
    completed(60, run=run)
    with days_ago(60):
        spawn_note(run=run)
    assert not do_prune()
    with days_ago(31):
        claim = claim_one(make_worker())
    assert not do_prune()
    with days_ago(29):
        complete_task(claim, {}, REPORT)
    assert not do_prune()
    assert do_prune(older_than_days=28).total() == 2


def test_a_run_with_a_failure_stays_as_long_as_the_failure():
    run = Run.objects.create(workflow="standard-pipeline")
    completed(60, run=run), failed(60, run=run)
    assert not do_prune()
    assert do_prune(older_than_days=59).total() == 2


def test_a_run_moves_whole_even_when_it_is_larger_than_a_batch():
    run = Run.objects.create(workflow="standard-pipeline")
    for n in range(5):
        completed(60 - n, run=run)
        completed(60 - n)
    batch = archive_batch(POLICY, limit=2)
    seen = [batch.moved.total()]
    while batch.place is not None:
        batch = archive_batch(POLICY, after=batch.place, limit=2)
        seen.append(batch.moved.total())
        assert ArchivedTask.objects.filter(run_id=run.run_id).count() in (0, 5)
    assert (sum(seen), max(seen)) == (10, 5)


def test_a_task_stays_while_an_unfinished_task_depends_on_it():
    parent = completed(60)
    child = spawn_note(depends_on=[parent.task_id])
    assert not do_prune()
    complete_task(claim_one(make_worker()), {}, REPORT)
    assert do_prune().total() == 1
    assert (is_archived(parent), is_archived(child)) == (True, False)
    assert TaskDependency.objects.count() == 1


def test_a_run_stays_whole_while_an_unfinished_task_depends_on_one_of_it():
    run = Run.objects.create(workflow="standard-pipeline")
    parent, _ = completed(60, run=run), completed(60, run=run)
    spawn_note(depends_on=[parent.task_id])
    assert not do_prune()


def test_only_the_named_queue_is_pruned_and_runs_across_queues_stay():
    run = Run.objects.create(workflow="standard-pipeline")
    make_worker(queues=["other"])
    here = completed(60)
    with days_ago(60):
        there = [spawn_note(queue_name="other"), spawn_note(queue_name="other", run=run)]
        for claim in claim_tasks(make_worker(queues=["other"]), limit=2):
            complete_task(claim, {}, REPORT)
    completed(60, run=run)
    assert do_prune(queue_name="other") == {("other", "completed"): 1}
    assert [is_archived(task) for task in (here, *there)] == [False, True, False]


def test_the_preview_counts_what_moves_and_changes_nothing():
    for days in (31, 40, 50):
        completed(days)
    failed(40), failed(100)
    run = Run.objects.create(workflow="standard-pipeline")
    completed(50, run=run), failed(50, run=run)
    before = snapshot()
    expected = preview(POLICY)
    assert snapshot() == before
    assert expected.moved.total() == 4
    assert do_prune() == expected.moved
    assert not preview(POLICY).moved


def snapshot() -> dict:
    models = (Task, Attempt, TaskEvent, ArchivedTask, TaskDependency)
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in models}


def test_what_may_not_go_does_not_stop_what_may():
    for _ in range(7):
        failed(80)
    late = completed(40)
    sweep = RetentionSweep()
    assert sweep.sweep(limit=3) == 1
    assert is_archived(late)
    assert sweep.sweep(limit=3) == 0


def test_a_sweep_with_nothing_to_do_asks_little(django_assert_max_num_queries):
    completed(10)
    with django_assert_max_num_queries(9):
        assert RetentionSweep().sweep() == 0


def test_counts_equal_a_recount_after_pruning():
    completed(40), completed(40), completed(3), failed(100)
    spawn_note()
    do_prune()
    recount = Counter(Task.objects.values_list("queue_id", "status"))
    assert deltas() == recount
    (found,) = queues.queue_stats(["dsa110-pipeline"])
    assert (found["completed"], found["failed"], found["pending"], found["total"]) == (1, 0, 1, 2)


def deltas() -> Counter:
    """Return the counts as the triggers keep them, folded or not."""
    counts: Counter = Counter()
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT queue_name, status, sum(n) FROM (
                SELECT queue_name, status, count AS n FROM tasks_app_queuecount
                UNION ALL SELECT queue_name, status, delta FROM tasks_app_countdelta
            ) AS changes GROUP BY queue_name, status HAVING sum(n) <> 0
        """)
        for queue_name, status, n in cursor.fetchall():
            counts[queue_name, status] = int(n)
    return counts


def test_a_prune_by_hand_is_told_among_the_events():
    completed(40)
    do_prune()
    event = TaskEvent.objects.get(event_type="archived")
    assert (event.actor, event.task_id, event.detail["tasks"]) == ("user:test", None, 1)
    assert not do_prune()
    assert TaskEvent.objects.filter(event_type="archived").count() == 1


def test_a_document_is_plain_json_by_column_name():
    completed(40)
    do_prune()
    with connection.cursor() as cursor:
        cursor.execute("SELECT task::text FROM tasks_app_archivedtask")
        document = json.loads(cursor.fetchone()[0])
    assert set(document) == {field.column for field in Task._meta.concrete_fields} | {"worker"}


@pytest.mark.django_db(transaction=True)
def test_two_pruners_at_once_lose_and_double_nothing():
    run = Run.objects.create(workflow="standard-pipeline")
    tasks = [completed(40, run=run if n % 4 == 0 else None) for n in range(60)]
    results = together(*[lambda: prune(POLICY, actor="user:test", batch=7).moved.total()] * 2)
    results.append(do_prune().total())
    assert sum(results) == 60
    assert {row.task_id for row in ArchivedTask.objects.all()} == {task.task_id for task in tasks}
    assert all(is_archived(task) for task in tasks)
    assert [len(row.events) for row in ArchivedTask.objects.all()] == [3] * 60


@pytest.mark.django_db(transaction=True)
def test_neither_claims_nor_spawns_wait_for_an_open_prune():
    old = completed(40)
    worker = make_worker()
    spawn_note()

    def work() -> tuple[int, str]:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '3s'")
        claim = claim_one(worker)
        complete_task(claim, {}, REPORT)
        spawn_note()
        return claim.attempt, Task.objects.get(task_id=claim.task_id).status

    with transaction.atomic():
        assert archive_batch(POLICY).moved.total() == 1
        (outcome,) = together(work)
    assert outcome == (1, "completed")
    assert is_archived(old)


@pytest.mark.django_db(transaction=True)
def test_a_task_that_somebody_holds_is_left_out_and_its_run_with_it():
    run = Run.objects.create(workflow="standard-pipeline")
    held, _, other = failed(100, run=run), completed(100, run=run), completed(100)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=held.pk)
        (moved,) = together(lambda: prune(POLICY, actor="user:test").moved.total())
    assert moved == 1
    assert is_archived(other)
    assert do_prune().total() == 2


@pytest.mark.django_db(transaction=True)
def test_a_retry_that_waited_for_the_prune_is_refused_as_too_late():
    task = failed(100)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            archive_batch(POLICY)
            late = pool.submit(together, lambda: retry(task.task_id, actor="user:test"))
            assert not wait([late], timeout=0.3).done
        (outcome,) = late.result(timeout=60)
    assert isinstance(outcome, TaskArchived)
    assert is_archived(task)


@pytest.mark.django_db(transaction=True)
def test_a_prune_that_is_rolled_back_moves_nothing():
    task = completed(40)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        archiving.archive_batch(POLICY)
        raise ZeroDivisionError
    assert not is_archived(task)
    assert Attempt.objects.count() == 1


def test_reports_of_progress_are_forgotten_after_a_day_and_nothing_else_is():
    worker = make_worker()
    with days_ago(2):
        spawn_note()
        report_progress(claim_one(worker), fraction=0.1, message="old")
    spawn_note()
    report_progress(claim_one(worker), fraction=0.2, message="young")
    before = set(TaskEvent.objects.exclude(event_type="progress").values_list("id", flat=True))
    RetentionSweep().sweep()
    left = TaskEvent.objects.filter(event_type="progress")
    assert [event.detail["update"]["progress_message"] for event in left] == ["young"]
    assert set(TaskEvent.objects.exclude(event_type="progress").values_list("id", flat=True)) == before
