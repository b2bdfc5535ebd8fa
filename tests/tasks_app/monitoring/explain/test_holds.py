"""Why a pending task is not running: what somebody decided, other tasks, limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import Join, TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.maintenance.sweeper import Sweeper, release_due
from tasks_app.models import Queue, Task
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.operations.queues import pause, resume, set_limit
from tasks_app.operations.system import freeze, thaw
from tasks_app.operations.tasks import cancel, retry
from tasks_app.postgresql import clock
from tests.tasks_app.monitoring.explain.explained import QUEUE, blocking, codes, finding, pass_time, ready_worker
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

ROUNDED_SEC = 0.1
pytestmark = pytest.mark.django_db


@pytest.fixture
def worker(db: None):
    return ready_worker()


def short(task: Task) -> str:
    return str(task.task_id)[-8:]


def limit_to(size: int, scope: str = "queue", name: str = QUEUE) -> None:
    if scope == "queue":
        Queue.objects.get_or_create(name=name)
    set_limit(scope, name, size=size, actor="user:test")


def test_nothing_holds_a_task_that_a_worker_may_take_at_once(worker):
    found = explain(spawn_note())
    assert [each.code for each in found.findings] == ["claimable"]
    assert (found.is_blocked, found.status, found.state) == (False, "pending", "pending")
    assert found.summary == (
        "Ready to run: nothing holds it back: with 4 free slots and nothing before it, the next claim takes it."
    )


def test_an_emergency_stop_shows_who_when_and_why(worker):
    task = spawn_note()
    freeze(actor="user:olga", reason="cooling failed")
    pass_time(90)
    found = finding(task, "frozen")
    assert codes(task)[0] == "frozen"
    assert found.text.startswith("Everything is frozen by user:olga since 2")
    assert found.text.endswith("(1 min 30 s ago): cooling failed.")
    assert "manage.py absurd_thaw" in found.remedy
    assert found.detail["by"] == "user:olga"
    thaw(actor="user:olga")
    assert codes(task) == ["claimable"]


def test_a_paused_queue_shows_who_when_and_why_and_how_to_resume_it(worker):
    task = spawn_note(queue_name="night-shift")
    pause("night-shift", actor="user:olga", reason="disk full")
    pass_time(60)
    found = finding(task, "queue_paused")
    assert "The queue night-shift is paused by user:olga since 2" in found.text
    assert found.text.endswith("(1 min 00 s ago): disk full.")
    assert found.remedy.endswith("POST /api/absurd/queues/night-shift/resume.")
    assert explain(task).summary.startswith("Not running: the queue night-shift is paused by user:olga")
    resume("night-shift", actor="user:olga")
    assert "queue_paused" not in codes(task)


def test_a_scheduled_task_shows_when_it_may_start(worker):
    start = clock.now() + timedelta(minutes=4)
    pass_time(0)
    task = spawn_note(scheduled_at=start)
    found = finding(task, "scheduled")
    assert f", at {start:%Y-%m-%d %H:%M:%S}Z." in found.text
    assert found.text.startswith(
        ("It is scheduled: it may start in 4 min 00 s", "It is scheduled: it may start in 3 min")
    )
    assert (start - clock.now()).total_seconds() - ROUNDED_SEC <= found.detail["in_sec"] <= 240
    assert codes(task) == ["scheduled"]


def test_a_start_that_no_sweep_has_noticed_is_said_so(worker):
    task = spawn_note(scheduled_at=clock.now() + timedelta(seconds=1))
    pass_time(3)
    assert finding(task, "due").remedy == "Nothing to do: it becomes claimable at that time."
    pass_time(10)
    assert "Start a worker or the web server" in finding(task, "due").remedy
    assert blocking(task) == ["due"]
    release_due()
    assert codes(task) == ["claimable"]


def test_a_retry_shows_what_failed_and_when_the_next_try_is(worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "error", "ValueError: no sky\nTraceback", REPORT)
    found = finding(task, "retrying")
    assert found.text.startswith(
        "Attempt 1 failed as error: ValueError: no sky. The next attempt, retry 1 of 3, may start"
    )
    assert "Traceback" not in found.text
    assert (found.detail["attempt"], found.detail["failure_class"], found.detail["retry"]) == (1, "error", 1)
    pass_time(3600)
    release_due()
    assert codes(task) == ["claimable", "last_attempt"]
    assert finding(task, "last_attempt").text == (
        "Attempt 1 failed as error: ValueError: no sky. The next attempt is retry 1 of 3."
    )


def test_a_drained_attempt_is_shown_as_free_of_charge(worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "drained", "worker stopped", REPORT)
    assert finding(task, "last_attempt").text == "Attempt 1 was returned without using up a retry: worker stopped."


def test_a_waiting_task_names_those_it_waits_for_and_how_they_stand(worker):
    parents = [spawn_note(priority=20) for _ in range(3)]
    child = spawn_note(depends_on=[parent.task_id for parent in parents])
    complete_task(claim_one(worker), {}, REPORT)
    claim_one(worker)
    found = finding(child, "waiting")
    assert found.text == (
        f"It waits for 2 of 3 tasks: note {short(parents[1])} (claimed), note {short(parents[2])} (pending)."
    )
    assert f"absurd_explain {parents[1].task_id}" in found.remedy
    assert (found.detail["completed"], found.detail["unfinished"]) == (1, 2)
    assert blocking(child) == ["waiting"]


def test_a_failed_parent_is_named_with_its_reason_and_what_lifts_it(worker):
    parent, other = spawn_note(max_retries=0, priority=20), spawn_note()
    child = spawn_note(depends_on=[other.task_id, parent.task_id])
    fail_attempt(claim_one(worker), "error", "no solutions\nmore", REPORT)
    found = finding(child, "waiting_on_failure")
    assert f"It waits for 2 of 2 tasks: note {short(parent)} (failed as error: no solutions), note" in found.text
    assert "waits until an operator acts" in found.text
    assert found.remedy.startswith(f"Repair the cause and retry note {parent.task_id}")
    retry(parent.task_id, actor="user:test")
    assert "waiting" in codes(child)


def test_the_first_cause_is_found_through_a_chain_of_waiting_tasks(worker):
    root = spawn_note(max_retries=0)
    task = root
    for _ in range(6):
        task = spawn_note(depends_on=[task.task_id])
    fail_attempt(claim_one(worker), "killed", "SIGSEGV", REPORT)
    found = finding(task, "waiting")
    assert f"They are blocked by note {short(root)} (failed as killed: SIGSEGV)." in found.text
    assert found.remedy.startswith(f"Repair the cause and retry note {root.task_id}")
    assert found.detail["first_causes"][0]["task_id"] == str(root.task_id)


def test_a_cancelled_parent_is_a_cause_too(worker):
    parent = spawn_note()
    child = spawn_note(depends_on=[parent.task_id])
    cancel(parent.task_id, actor="user:test")
    assert f"note {short(parent)} (cancelled)" in finding(child, "waiting_on_failure").text


def test_a_quorum_is_reported_with_its_deadline(worker):
    parents = [spawn_note(priority=20) for _ in range(3)]
    child = spawn_note(depends_on=[each.task_id for each in parents], join=Join(quorum=3, deadline_sec=360))
    complete_task(claim_one(worker), {}, REPORT)
    pass_time(0)
    assert "It needs 3 of 3 tasks, has 1 and waits for all until its join deadline, in " in (
        finding(child, "waiting").text
    )
    pass_time(720)
    assert "has 1 and its join deadline has passed, at 2" in finding(child, "waiting").text
    Sweeper().sweep()
    assert "has 1 and becomes claimable as soon as its quorum has completed" in finding(child, "waiting").text


def test_a_quorum_that_cannot_be_reached_waits_for_somebody(worker):
    parents = [spawn_note(priority=20, max_retries=0) for _ in range(3)]
    child = spawn_note(depends_on=[each.task_id for each in parents], join=Join(quorum=2))
    fail_attempt(claim_one(worker), "error", "one", REPORT)
    assert "waiting" in codes(child)
    fail_attempt(claim_one(worker), "error", "two", REPORT)
    assert finding(child, "waiting_on_failure").detail["quorum"] == 2


def test_enough_parents_and_a_passed_deadline_wait_only_for_a_sweep(worker):
    parents = [spawn_note(priority=20) for _ in range(2)]
    child = spawn_note(depends_on=[each.task_id for each in parents], join=Join(quorum=1, deadline_sec=60))
    complete_task(claim_one(worker), {}, REPORT)
    pass_time(61)
    assert blocking(child) == ["due"]
    Sweeper().sweep()
    assert blocking(child) == []


def test_many_parents_are_counted_and_few_are_named(worker):
    requests = [TaskOptions(task_name="note", params={"text": "a"}) for _ in range(30)]
    parents = spawn_many(requests, actor="user:test")
    child = spawn_note(depends_on=[parent.task_id for parent in parents])
    found = finding(child, "waiting")
    assert found.text.startswith("It waits for 30 of 30 tasks: ")
    assert found.text.endswith(" and 25 more.")
    assert len(found.detail["waits_for"]) == 5


def test_a_full_limit_of_a_queue_shows_who_holds_it(worker):
    limit_to(1)
    holder = spawn_note(priority=20)
    claim_one(worker)
    task = spawn_note()
    found = finding(task, "limit_full")
    assert found.text.startswith(
        f"The concurrency limit of queue {QUEUE} is full, 1 of 1, held by note {short(holder)} on worker-1@test since 2"
    )
    assert found.detail["held_by"][0]["task_id"] == str(holder.task_id)
    assert blocking(task) == ["limit_full"]


def test_each_full_limit_that_a_task_stands_under_is_reported(worker):
    limit_to(1)
    spawn_note(concurrency_key="disk-a", priority=20)
    claim_one(worker)
    task = spawn_note(concurrency_key="disk-a")
    assert blocking(task) == ["limit_full", "limit_full"]
    of_key = explain(task).findings[0]
    assert "The concurrency limit of key disk-a is full, 1 of 1, held by" in of_key.text


def test_a_limit_set_after_the_spawn_is_reported_before_any_claim_has_parked_the_task(worker):
    spawn_note(priority=20), spawn_note(priority=20)
    task = spawn_note()
    claim_tasks(worker, limit=2)
    limit_to(1)
    assert blocking(task) == ["limit_full"]
    assert f"The concurrency limit of queue {QUEUE} is full, 2 of 1, held by" in finding(task, "limit_full").text


def test_more_holders_than_are_named_are_counted(worker):
    limit_to(7)
    for _ in range(7):
        spawn_note(priority=20)
    claim_tasks(worker, limit=7)
    found = finding(spawn_note(), "limit_full")
    assert "is full, 7 of 7, held by" in found.text
    assert found.text.endswith(" and 2 more.")


def test_a_parked_task_whose_limit_has_room_waits_for_those_before_it(worker):
    limit_to(1)
    spawn_note(), spawn_note()
    last = spawn_note()
    found = finding(last, "limit_turn")
    assert f"the limit of queue {QUEUE} has 1 free slot, for tasks that are before it." in found.text
    assert blocking(last) == ["limit_turn"]


def test_timeouts_are_reported(worker):
    before = clock.now()
    task = spawn_note(queue_timeout_sec=600, total_timeout_sec=7200)
    assert codes(task) == ["claimable", "expires", "deadline"]
    assert finding(task, "expires").text.startswith("Its queue timeout ends in ")
    left_sec = finding(task, "expires").detail["left_sec"]
    assert 600 - (clock.now() - before).total_seconds() - ROUNDED_SEC <= left_sec <= 600
    assert finding(task, "deadline").text.startswith("Its total timeout ends in ")
    pass_time(601)
    assert "the next sweep fails it" in finding(task, "expires").remedy


def test_the_decisive_cause_comes_first_and_the_others_follow():
    parent = spawn_note(max_retries=0, priority=20)
    task = spawn_note(
        depends_on=[parent.task_id],
        scheduled_at=clock.now() + timedelta(hours=1),
        queue_timeout_sec=86_400,
        total_timeout_sec=90_000,
    )
    fail_attempt(claim_one(ready_worker(stopped_at=clock.now())), "error", "boom", REPORT)
    pause(QUEUE, actor="user:olga", reason="disk full")
    freeze(actor="user:olga", reason="cooling failed")
    assert codes(task) == [
        "frozen", "queue_paused", "waiting_on_failure", "scheduled", "no_worker", "expires", "deadline"
    ]  # fmt: skip
    assert explain(task).summary.endswith("cooling failed. 4 more causes below.")
