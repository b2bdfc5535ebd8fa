from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import renew_leases, report_progress, start_attempt
from tasks_app.errors import LostClaim
from tasks_app.maintenance.sweeper import return_lost
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.postgresql import clock
from tasks_app.testing import make_task, registered
from tests.tasks_app.notes import NOTE, REPORT, claim_one, event_types, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def expire_the_lease(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(lease_until=clock.now() - timedelta(seconds=1), lease_sec=1)


def test_the_most_urgent_task_goes_first(worker):
    low, normal, critical = spawn_note(priority=2), spawn_note(priority=5), spawn_note(priority=15)
    most_critical = spawn_note(priority=20)
    claims = claim_tasks(worker, limit=4)
    assert [c.task_id for c in claims] == [t.task_id for t in (most_critical, critical, normal, low)]


def test_a_claim_opens_an_attempt_with_its_own_token(worker):
    task = spawn_note()
    claim = claim_one(worker)
    task.refresh_from_db()
    attempt = Attempt.objects.get(task_id=task.task_id)
    assert (task.status, task.claim_token, task.claim_epoch) == ("claimed", claim.claim_token, 1)
    assert (attempt.number, attempt.claim_token, attempt.worker) == (1, claim.claim_token, worker)
    event = TaskEvent.objects.filter(event_type="claimed").get()
    assert (event.actor, event.attempt, event.detail["update"]["worker_id"]) == ("worker:worker-1", 1, "worker-1")


def test_completion_stores_the_result_and_closes_the_attempt(worker):
    task = spawn_note()
    complete_task(claim_one(worker), {"caltables": ["a"]}, AttemptReport(peak_rss_bytes=5, exit_code=0))
    task.refresh_from_db()
    attempt = Attempt.objects.get()
    assert (task.status, task.result, task.claim_token) == ("completed", {"caltables": ["a"]}, None)
    assert (attempt.outcome, attempt.peak_rss_bytes) == ("completed", 5)
    assert attempt.ended_at == task.completed_at


@pytest.mark.parametrize(
    "late",
    [
        lambda claim: complete_task(claim, {"ok": True}, REPORT),
        lambda claim: fail_attempt(claim, "error", "boom", REPORT),
        lambda claim: report_progress(claim, fraction=0.5, message="half"),
        lambda claim: start_attempt(claim, directory="/tmp/x", log_path="/tmp/x.log"),
    ],
)
def test_a_worker_that_lost_its_claim_can_change_nothing(worker, late):
    task = spawn_note()
    stale = claim_one(worker)
    expire_the_lease(task)
    assert return_lost(watched_sec=60) == 1
    Task.objects.filter(pk=task.pk).update(hold=0)
    fresh = claim_one(make_worker(label="worker-2"))
    before = Task.objects.filter(pk=task.pk).values().get()
    with pytest.raises(LostClaim):
        late(stale)
    assert Task.objects.filter(pk=task.pk).values().get() == before
    refusal = TaskEvent.objects.get(event_type="refused")
    assert "claim 1 refused: claim 2 is now valid" in refusal.reason
    assert complete_task(fresh, {}, REPORT).status == "completed"


def test_renewal_extends_what_is_held_and_names_what_is_lost(worker):
    spawn_note()
    spawn_note()
    held, lost = claim_tasks(worker, limit=2)
    fail_attempt(lost, "invalid", "no such file", REPORT)
    before = Task.objects.get(task_id=held.task_id).lease_until
    renewal = renew_leases([held, lost])
    assert (renewal.held, renewal.lost) == ({held.task_id}, {lost.task_id})
    assert Task.objects.get(task_id=held.task_id).lease_until > before


def test_an_error_is_retried_later_and_counted(worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "error", "ValueError: no\nmore", REPORT)
    task.refresh_from_db()
    assert (task.status, task.retry_count, task.display_status) == ("pending", 1, "retrying")
    assert task.runnable_at > clock.now()
    assert claim_tasks(worker, limit=1) == []
    assert TaskEvent.objects.get(event_type="retrying").reason == "ValueError: no"


def test_retries_end(worker):
    task = spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "timeout", "took longer than 5 s", REPORT)
    task.refresh_from_db()
    assert (task.status, task.failure_class, task.error) == ("failed", "timeout", "took longer than 5 s")


def test_invalid_input_is_never_retried(worker):
    task = spawn_note(max_retries=9)
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("failed", 0)


def test_a_drained_attempt_costs_nothing_and_may_go_at_once(worker):
    task = spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "drained", "worker stopped", REPORT)
    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("pending", 0)
    assert claim_one(worker).attempt == 2


def test_three_crashes_put_a_task_into_quarantine(worker):
    task = spawn_note(max_retries=9)
    for _ in range(3):
        fail_attempt(claim_one(worker), "killed", "SIGSEGV", REPORT)
        Task.objects.filter(pk=task.pk, status="pending").update(hold=0)
    task.refresh_from_db()
    assert (task.status, task.display_status, task.crash_count) == ("failed", "quarantined", 3)


def test_an_expired_lease_returns_the_task_as_lost(worker):
    task = spawn_note()
    claim_one(worker)
    expire_the_lease(task)
    assert return_lost(watched_sec=60) == 1
    task.refresh_from_db()
    assert (task.status, task.retry_count, task.failure_class) == ("pending", 1, "lost")
    assert Attempt.objects.get().outcome == "lost"


def test_no_lease_expires_before_the_database_was_watched_for_a_lease(worker):
    task = spawn_note()
    claim_one(worker)
    expire_the_lease(task)
    assert return_lost(watched_sec=0.5) == 0
    task.refresh_from_db()
    assert task.status == "claimed"


def test_a_claim_of_a_missing_task_is_told_so(worker):
    spawn_note()
    claim = claim_one(worker)
    stranger = Claim(**{**claim.__dict__, "claim_token": uuid4()})
    with pytest.raises(LostClaim):
        complete_task(stranger, {}, REPORT)
    assert event_types(Task.objects.get()) == ["spawned", "claimed", "refused"]


def test_a_name_that_is_not_registered_is_left_for_others_however_urgent(worker, monkeypatch):
    with registered(replace(NOTE, name="of-tomorrow")):
        unknown = make_task("of-tomorrow", {"text": "a"}, priority=20)
    known = spawn_note()
    assert [claim.task_id for claim in claim_tasks(worker, limit=5)] == [known.task_id]
    unknown.refresh_from_db()
    assert (unknown.status, unknown.retry_count, unknown.claim_epoch) == ("pending", 0, 0)
    with registered(replace(NOTE, name="of-tomorrow")):
        assert claim_one(worker).task_id == unknown.task_id
