from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tasks_app.engine.claim import claim_tasks
from tasks_app.errors import NotClaimable
from tasks_app.models import Attempt, Limit, LimitSlot, Run, Task, TaskEvent, Worker
from tasks_app.operations.queues import pause
from tasks_app.testing import drain, frozen_clock, make_run, make_task, make_worker, registered, run_task
from tests.tasks_app.kit_handlers import spec
from tests.tasks_app.notes import event_types

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kit() -> Iterator[None]:
    with registered(spec(), spec("other-kit")):
        yield


@pytest.mark.parametrize(
    ("how", "status", "retry_count"),
    [
        ("well", "completed", 0),
        ("error", "pending", 1),
        ("exit", "pending", 1),
        ("nan", "pending", 1),
        ("memory", "pending", 1),
        ("invalid", "failed", 0),
        ("no_work", "completed", 0),
    ],
)
def test_each_outcome_goes_the_way_that_the_policy_says(how, status, retry_count):
    task = make_task("kit", {"how": how})
    report = drain()
    task.refresh_from_db()
    attempt = Attempt.objects.get()
    outcome = {"well": "completed", "exit": "error", "nan": "error"}.get(how, how)
    assert report.only.outcome == attempt.outcome == outcome
    assert (task.status, task.retry_count) == (status, retry_count)
    assert report.only.task == task and report.emptied
    assert attempt.traceback == report.only.traceback and bool(attempt.traceback) == (how != "well")


def test_products_reach_on_complete_and_stay_on_the_disk(tmp_path):
    with registered(spec("keeping", on_complete="tests.tasks_app.kit_handlers:keep")):
        make_task("keeping")
        report = drain(directory=tmp_path)
    (product,) = Task.objects.get().params["kept"]
    assert [product] == list(report.only.products)
    assert Path(product["path"]).is_relative_to(tmp_path) and Path(product["path"]).read_text() == "as asked"
    assert Attempt.objects.get().directory.startswith(str(tmp_path))


def test_a_result_that_cannot_be_recorded_is_an_error():
    with registered(spec("refused", on_complete="tests.tasks_app.kit_handlers:refuse")):
        task = make_task("refused")
        attempt = drain().only
    assert (attempt.outcome, attempt.task.status) == ("error", "pending")
    assert "could not be recorded: ValueError: no room" in attempt.error
    assert event_types(task) == ["spawned", "claimed", "progress", "retrying"]


def test_children_are_run_after_their_parents():
    parent = make_task("kit")
    child = make_task("other-kit", depends_on=[parent.task_id])
    report = drain()
    assert report.names == ["kit", "other-kit"]
    assert [attempt.task for attempt in report.of(child)] == [child]
    assert report.outcomes == {"completed": 2}


def test_a_retry_comes_when_the_clock_has_moved_on():
    task = make_task("kit", {"how": "error"}, max_retries=1)
    with frozen_clock() as frozen:
        assert drain().outcomes == {"error": 1}
        assert len(drain()) == 0
        task.refresh_from_db()
        frozen.move_to(task.runnable_at)
        assert drain().only.task.status == "failed"


def test_what_waits_too_long_fails_instead_of_running():
    with frozen_clock() as frozen:
        task = make_task("kit", queue_timeout_sec=60)
        pause("dsa110-pipeline", actor="user:test", reason="full disk")
        frozen.tick(61)
        assert len(drain()) == 0
    task.refresh_from_db()
    assert (task.status, task.failure_class) == ("failed", "timeout")


def test_one_queue_is_drained_and_the_others_left():
    here, there = make_task("kit", queue_name="here"), make_task("kit", queue_name="there")
    assert drain("here").only.task == here
    assert drain().only.task == there


def test_only_the_names_that_were_asked_for_run_and_the_others_notice_nothing():
    make_task("kit", priority=20)
    other = make_task("other-kit")
    before = list(Task.objects.filter(task_name="kit").values())
    events = TaskEvent.objects.filter(queue_name="dsa110-pipeline").count()
    assert drain(names=["other-kit"]).only.task == other
    assert list(Task.objects.filter(task_name="kit").values()) == before
    assert TaskEvent.objects.count() == events + 3
    assert drain().names == ["kit"]


def test_the_limit_ends_a_drain_that_would_not_end():
    with registered(spec("endless", "spawning")):
        make_task("endless")
        report = drain(limit=3)
        assert (len(report), report.emptied) == (3, False)
        assert Task.objects.filter(status="pending").count() == 1


def test_a_lost_claim_is_refused_as_a_workers_would_be():
    with registered(spec("losing", "losing")):
        task = make_task("losing")
        assert drain().only.outcome == "refused"
    assert event_types(task)[-1] == "refused"


def test_a_handler_that_breaks_its_transaction_does_not_break_the_tests():
    with registered(spec("spoiling", "spoiling")):
        make_task("spoiling")
        report = drain()
    assert connection.in_atomic_block
    assert report.only.outcome == "error" and "division by zero" in report.only.error


def test_a_name_that_is_not_known_waits_as_it_does_for_a_worker():
    with registered(spec("gone")):
        task = make_task("gone")
    assert len(drain()) == 0
    assert Task.objects.get(pk=task.pk).status == "pending"


def test_the_worker_that_drained_has_stopped():
    make_task("kit")
    drain()
    worker = Worker.objects.get()
    assert worker.label == "test-kit" and worker.stopped_at is not None
    assert Attempt.objects.get().worker == worker


@pytest.mark.django_db(transaction=True)
def test_it_drains_outside_a_transaction_too():
    make_task("kit")
    make_task("kit", {"how": "error"})
    assert drain(names=["kit"]).outcomes == {"completed": 1, "error": 1}


def test_one_task_is_run_whatever_stands_before_it():
    first, second = make_task("kit", priority=20), make_task("kit", priority=1)
    assert run_task(second).task == second
    first.refresh_from_db()
    assert (first.status, first.hold, event_types(first)) == ("pending", 0, ["spawned"])


def test_one_task_of_a_limited_queue_is_run_and_gives_its_slot_back():
    limit = Limit.objects.create(scope="queue", name="dsa110-pipeline", size=1)
    LimitSlot.objects.create(limit=limit, number=1)
    tasks = [make_task("kit") for _ in range(3)]
    assert run_task(tasks[2]).outcome == "completed"
    assert not LimitSlot.objects.filter(task_id__isnull=False).exists()
    assert drain().outcomes == {"completed": 2}


def test_a_task_that_may_not_be_claimed_is_refused_with_the_reason():
    parent = make_task("kit")
    waiting = make_task("kit", depends_on=[parent.task_id])
    with pytest.raises(NotClaimable, match="it is waiting"):
        run_task(waiting)
    pause("dsa110-pipeline", actor="user:test", reason="full disk")
    with pytest.raises(NotClaimable, match="queue dsa110-pipeline is paused"):
        run_task(parent)


@pytest.mark.parametrize(
    ("status", "output"),
    [
        ("pending", ["spawned"]),
        ("claimed", ["spawned", "claimed"]),
        ("completed", ["spawned", "claimed", "completed"]),
        ("failed", ["spawned", "claimed", "failed"]),
        ("cancelled", ["spawned", "cancelled"]),
    ],
)
def test_a_task_is_made_in_any_status_by_the_moves_that_lead_there(status, output):
    make_task("kit", priority=20)
    task = make_task("kit", status=status, result={"n": 1}, priority=1)
    assert (task.status, event_types(task)) == (status, output)
    assert task.result == ({"n": 1} if status == "completed" else None)


def test_a_task_is_made_in_the_hands_of_a_worker_and_in_a_run():
    worker, run = make_worker(label="worker-7", queues=["q"]), make_run("nightly", label="tonight")
    task = make_task("kit", status="claimed", worker=worker, queue_name="q", run=run, stage="first")
    assert task.worker == worker and task.run == Run.objects.get(workflow="nightly")
    assert claim_tasks(worker, limit=1) == []


def test_a_status_that_the_policy_does_not_lead_to_is_refused():
    with pytest.raises(ValueError, match="it is pending"):
        make_task("kit", status="failed", failure_class="error")
