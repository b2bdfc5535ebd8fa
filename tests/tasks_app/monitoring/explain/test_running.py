"""How a claimed task is doing, and how a finished one ended."""

from __future__ import annotations

import pytest
from django.conf import settings

from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import renew_leases, report_progress
from tasks_app.errors import TaskNotFound
from tasks_app.maintenance.sweeper import fail_overdue, fail_past_deadline
from tasks_app.models import ArchivedTask, Task, Worker
from tasks_app.monitoring.explain.explanation import explain, explain_id
from tasks_app.operations.tasks import cancel, retry
from tasks_app.postgresql import clock
from tests.tasks_app.monitoring.explain.explained import codes, finding, pass_time, ready_worker
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker(db: None) -> Worker:
    return ready_worker(host="lxd110h05")


def running_note(worker: Worker, **options) -> tuple[Task, Claim]:
    task = spawn_note(**options)
    pass_time(0)
    return task, claim_one(worker)


def test_a_running_task_shows_who_runs_it_since_when_and_how_far_it_is(worker):
    task, claim = running_note(worker, timeout_sec=600, total_timeout_sec=7200, idle_timeout_sec=300)
    pass_time(90)
    report_progress(claim, fraction=0.42, message="major cycle 3 of 8")
    pass_time(30)
    renew_leases([claim])
    pass_time(10)
    assert codes(task) == ["running", "timeout", "deadline", "lease", "idle"]
    assert finding(task, "running").text.startswith("Attempt 1 runs on worker-1@lxd110h05 since 2")
    assert finding(task, "running").text.endswith("(2 min 10 s ago) and is 42 % done: major cycle 3 of 8.")
    assert finding(task, "timeout").text.startswith(
        "The timeout of the attempt is 10 min 00 s; it is stopped in 7 min 50 s, at 2"
    )
    assert finding(task, "deadline").text.startswith("Its total timeout ends in 1 h 57 min, at 2")
    assert finding(task, "lease").text.endswith("(10 s ago).")
    assert finding(task, "lease").detail["left_sec"] == 50.0
    assert finding(task, "idle").text.endswith(
        "(40 s ago). It is stopped after 5 min 00 s without progress, output or processor time."
    )
    assert explain(task).summary.startswith("Running: attempt 1 runs on worker-1@lxd110h05")
    assert not explain(task).is_blocked


def test_a_second_attempt_is_shown_as_the_retry_it_is_and_begins_in_silence(worker):
    task, claim = running_note(worker)
    report_progress(claim, fraction=0.5, message="half")
    fail_attempt(claim, "error", "boom", REPORT)
    Task.objects.filter(pk=task.pk).update(hold=0)
    claim_one(worker)
    pass_time(20)
    assert finding(task, "running").text.startswith("Attempt 2, retry 1 of 3, runs on worker-1@lxd110h05")
    assert finding(task, "idle").text == "It has not reported any progress yet."
    assert finding(task, "idle").detail["idle_sec"] == 20.0


def test_a_cancel_counts_down_and_then_shows_that_it_is_late(worker):
    task, _ = running_note(worker)
    cancel(task.task_id, actor="user:olga", reason="wrong field")
    pass_time(4)
    found = finding(task, "cancelling")
    assert codes(task)[0] == "cancelling"
    assert found.text.startswith("user:olga requested its cancellation 2")
    assert (
        "(4.0 s ago): wrong field. Its worker ends the attempt within 6.0 s, if necessary by killing it." in found.text
    )
    assert found.detail["grace_sec"] == settings.ABSURD_STOP_GRACE_SEC
    assert explain(task).summary.startswith("Being cancelled: user:olga requested its cancellation")
    pass_time(8)
    assert "The attempt should have ended 2.0 s ago." in finding(task, "cancelling").text


def test_a_lease_that_ran_out_shows_what_becomes_of_the_task(worker):
    task, _ = running_note(worker)
    pass_time(settings.ABSURD_LEASE_SEC + 15, heard_of=False)
    found = finding(task, "stalled")
    assert codes(task)[:2] == ["stalled", "worker_silent"]
    assert "It is stalled: worker-1@lxd110h05 has not renewed its lease, which expired 2" in found.text
    assert found.text.endswith("(15 s ago). It then returns to the queue, for retry 1 of 3.")
    assert found.detail["overdue_sec"] == 15.0
    assert "60 s, without a break" in found.remedy
    assert "is stale: it last reported 2" in finding(task, "worker_silent").text
    assert explain(task).state == "stalled"
    assert explain(task).summary.startswith("Stalled: it is stalled")
    Task.objects.filter(pk=task.pk).update(retry_count=3)
    assert finding(task, "stalled").text.endswith("It then fails, because its retries are used up.")
    Task.objects.filter(pk=task.pk).update(crash_count=3)
    assert "It then fails and is quarantined, because 3 attempts crashed" in finding(task, "stalled").text
    cancel(task.task_id, actor="user:olga")
    assert finding(task, "stalled").text.endswith("It is then cancelled, as requested.")


def test_a_worker_that_said_it_stopped_or_is_lost_is_pointed_out(worker):
    task, _ = running_note(worker)
    pass_time(20)
    assert "worker_silent" not in codes(task)
    pass_time(200, heard_of=False)
    assert "is lost: it last reported" in finding(task, "worker_silent").text
    Worker.objects.update(stopped_at=clock.now())
    assert "Its worker worker-1@lxd110h05 stopped" in finding(task, "worker_silent").text


def test_an_attempt_past_its_timeout_is_said_to_be_late(worker):
    task, _ = running_note(worker, timeout_sec=30)
    pass_time(40)
    assert "should have been stopped at 2" in finding(task, "timeout").text
    assert finding(task, "timeout").detail["left_sec"] == -10.0


def test_a_completed_task_shows_when_and_after_how_many_attempts(worker):
    task, claim = running_note(worker)
    fail_attempt(claim, "error", "boom", REPORT)
    Task.objects.filter(pk=task.pk).update(hold=0)
    claim = claim_one(worker)
    pass_time(60)
    complete_task(claim, {}, REPORT)
    assert codes(task) == ["completed", "attempts"]
    assert finding(task, "completed").text.endswith("1 min 00 s after its claim.")
    assert finding(task, "attempts").text == "It had 2 attempts (1 completed, 1 error) and used 1 of 3 retries."


def test_a_task_with_nothing_to_do_reports_it(worker):
    task, claim = running_note(worker)
    fail_attempt(claim, "no_work", "no files older than 30 d", REPORT)
    assert "found nothing to do" in finding(task, "no_work").text
    assert finding(task, "no_work").text.endswith(": no files older than 30 d.")


def test_a_failed_task_shows_why_and_what_waits_for_it(worker):
    task, claim = running_note(worker, max_retries=1)
    child = spawn_note(depends_on=[task.task_id])
    fail_attempt(claim, "error", "one", REPORT)
    Task.objects.filter(pk=task.pk).update(hold=0)
    fail_attempt(claim_one(worker), "timeout", "took longer than 5 s\nstack", REPORT)
    assert codes(task) == ["failed", "attempts", "awaited"]
    found = finding(task, "failed")
    assert "as timeout: took longer than 5 s. Retries used: 1 of 1." in found.text
    assert "Read the log" in found.remedy
    assert finding(task, "awaited").text == "Tasks that depend on it directly and are blocked by it: 1 task."
    assert explain(task).summary == found.text
    assert explain(child).is_blocked


def test_invalid_input_has_another_remedy(worker):
    task, claim = running_note(worker)
    fail_attempt(claim, "invalid", "no such file", REPORT)
    assert "as invalid: no such file." in finding(task, "failed").text
    assert "never retried automatically" in finding(task, "failed").remedy


def test_quarantine_shows_what_lifts_it(worker):
    task = spawn_note(max_retries=9)
    for _ in range(3):
        fail_attempt(claim_one(worker), "killed", "SIGSEGV", REPORT)
        Task.objects.filter(pk=task.pk, status="pending").update(hold=0)
    found = finding(task, "quarantined")
    assert "3 attempts crashed, ran out of memory or were lost, the last as killed: SIGSEGV." in found.text
    assert "Only a retry by an operator lifts the quarantine." in found.remedy
    retry(task.task_id, actor="user:test")
    assert "quarantined" not in codes(task)


def test_a_task_that_can_never_run_names_its_first_cause(worker):
    root, claim = running_note(worker)
    middle = spawn_note(depends_on=[root.task_id])
    last = spawn_note(depends_on=[middle.task_id])
    fail_attempt(claim, "invalid", "no such file", REPORT)
    for task in (middle, last):
        found = finding(task, "unrunnable")
        assert f"because it depends on note {root.task_id}, failed as invalid: no such file." in found.text
        assert f"retry note {root.task_id}" in found.remedy
        assert finding(task, "attempts").text == "No attempt was ever started."


def test_a_first_cause_that_has_gone_cannot_be_retried(worker):
    root, claim = running_note(worker)
    child = spawn_note(depends_on=[root.task_id])
    fail_attempt(claim, "invalid", "no such file", REPORT)
    archive_as_it_is(root)
    found = finding(child, "unrunnable")
    assert f"because it depends on note {root.task_id}, failed as invalid: no such file." in found.text
    assert (
        found.remedy
        == "That task cannot be retried any more: respawn it, then this task with the new one as dependency."
    )
    ArchivedTask.objects.all().delete()
    assert f"because it depends on the task {root.task_id}." in finding(child, "unrunnable").text


def test_expiry_and_the_end_of_the_budget_are_distinguished_from_a_timeout(worker):
    waited = spawn_note(queue_timeout_sec=60)
    spent = spawn_note(total_timeout_sec=120)
    pass_time(121)
    fail_overdue(), fail_past_deadline()
    assert "not claimed before" in finding(waited, "expired").text
    assert "its total timeout ended" in finding(spent, "expired").text


def test_a_cancelled_task_shows_who_asked_and_who_stopped_it(worker):
    pending = spawn_note()
    cancel(pending.task_id, actor="user:olga", reason="wrong field")
    assert "It was cancelled by user:olga at 2" in finding(pending, "cancelled").text
    assert finding(pending, "cancelled").text.endswith(": wrong field.")
    task, claim = running_note(worker)
    cancel(task.task_id, actor="user:ivan", reason="cloud")
    fail_attempt(claim, "cancelled", "cancelled on request", REPORT)
    assert "cancelled by user:ivan at 2" in finding(task, "cancelled").text
    assert finding(task, "cancelled").text.endswith(": cloud. It was running; worker:worker-1 stopped it.")


def archive_as_it_is(task: Task) -> None:
    task.refresh_from_db()
    ArchivedTask.objects.create(
        id=task.pk, task_id=task.task_id, queue_name=task.queue_id, task_name=task.task_name, status=task.status,
        created_at=task.created_at, completed_at=task.completed_at, last_event_id=1, attempts=[], events=[],
        task={"task_id": str(task.task_id), "task_name": "note", "status": task.status, "error": task.error,
              "failure_class": task.failure_class},
    )  # fmt: skip
    Task.objects.filter(pk=task.pk).delete()


def test_an_archived_task_is_explained_from_the_archive(worker):
    task, claim = running_note(worker)
    fail_attempt(claim, "invalid", "no sky\nmore", REPORT)
    archive_as_it_is(task)
    found = explain_id(task.task_id)
    assert (found.state, found.findings[0].code) == ("archived", "archived")
    assert found.summary.endswith(": no sky.")
    ArchivedTask.objects.all().delete()
    with pytest.raises(TaskNotFound):
        explain(task)
