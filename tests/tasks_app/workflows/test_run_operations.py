"""Cancelling and retrying whole runs."""

from __future__ import annotations

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.lease import renew_leases
from tasks_app.engine.options import Join
from tasks_app.errors import OperationRefused, ParamsInvalid, RunNotFound
from tasks_app.models import Task, TaskEvent
from tasks_app.operations.operation import Params
from tasks_app.operations.runs import CancelCounts, RetryCounts, RunRetryParams, cancel_run, retry_run
from tasks_app.workflows.plan import RunPlan
from tests.tasks_app.notes import event_types
from tests.tasks_app.workflows.run_plans import (
    HELLO,
    begin,
    break_,
    claim_all,
    diamond,
    fan,
    finish,
    finish_all,
    linear,
    state,
    task_of,
)

pytestmark = pytest.mark.django_db
ALICE = {"actor": "user:alice", "reason": "wrong field"}


def statuses(run) -> dict[str, str]:
    return dict(Task.objects.filter(run=run).values_list("stage", "status"))


def test_cancel_stops_what_runs_and_cancels_what_does_not(worker):
    run = begin(diamond())
    finish(claim_all(worker)["top"])
    (left,) = claim_tasks(worker, limit=1)
    assert cancel_run.preview(run.run_id, Params()) == CancelCounts(cancelled=2, stopping=1, finished=1)
    assert "cancelled" not in statuses(run).values()
    assert cancel_run(run.run_id, **ALICE) == CancelCounts(cancelled=2, stopping=1, finished=1)
    assert sorted(statuses(run).values()) == ["cancelled", "cancelled", "claimed", "completed"]
    assert renew_leases([left]).cancel_requested == {left.task_id}
    break_(left, "killed", "stopped by SIGTERM")
    assert state(run).word == "cancelled"
    about_tasks = TaskEvent.objects.filter(event_type__in=["cancelled", "cancel_requested"], actor="user:alice")
    assert {event.reason for event in about_tasks} == {"wrong field"}
    about_run = TaskEvent.objects.get(event_type="run_cancelled")
    assert (about_run.run_id, about_run.actor, about_run.reason) == (run.run_id, "user:alice", "wrong field")
    assert about_run.detail == {"cancelled": 2, "stopping": 1, "finished": 1}


def test_cancelling_releases_nothing_on_the_way(worker):
    run = begin(fan(3, Join(quorum=1, deadline_sec=60)))
    finish(claim_tasks(worker, limit=1)[0])
    cancel_run(run.run_id, **ALICE)
    assert event_types(task_of(run, "mosaic")) == ["spawned", "cancelled"]


def test_cancelling_a_finished_run_changes_nothing(worker):
    run = begin(linear())
    finish_all(worker)
    assert cancel_run(run.run_id, **ALICE) == CancelCounts(finished=3)
    assert not TaskEvent.objects.filter(event_type="run_cancelled").exists()


def test_an_unknown_run_is_named():
    for operation in (cancel_run, retry_run):
        with pytest.raises(RunNotFound, match="there is no run 0"):
            operation("00000000-0000-0000-0000-000000000000", **ALICE)


@pytest.mark.parametrize("failure_class", ["error", "invalid"])
def test_a_retried_run_goes_on_to_its_end(worker, failure_class):
    run = begin(linear(max_retries=0))
    finish(claim_all(worker)["convert"])
    break_(claim_all(worker)["image"], failure_class)
    revived = 1 if failure_class == "invalid" else 0
    expected = RetryCounts(retried=1, revived=revived)
    assert retry_run.preview(run.run_id, RunRetryParams()) == expected
    assert task_of(run, "image").status == "failed"
    assert retry_run(run.run_id, **ALICE) == expected
    assert event_types(task_of(run, "image"))[-1] == "retried"
    event = TaskEvent.objects.get(event_type="run_retried")
    assert (event.run_id, event.reason, event.detail["retried"]) == (run.run_id, "wrong field", 1)
    assert set(finish_all(worker)) == {"image", "measure"}
    assert task_of(run, "convert").claim_epoch == 1


def test_a_cancelled_run_is_taken_up_again(worker):
    run = begin(diamond())
    finish(claim_all(worker)["top"])
    cancel_run(run.run_id, **ALICE)
    assert retry_run(run.run_id, **ALICE) == RetryCounts(retried=3)
    assert set(finish_all(worker)) == {"left", "right", "join"}
    assert state(run).word == "completed"


def test_a_run_that_is_still_being_stopped_is_not_retried(worker):
    run = begin(linear())
    claim = claim_all(worker)["convert"]
    cancel_run(run.run_id, **ALICE)
    with pytest.raises(OperationRefused, match="still being stopped"):
        retry_run(run.run_id, **ALICE)
    break_(claim, "killed")
    retry_run(run.run_id, **ALICE)
    assert finish_all(worker) == ["convert", "image", "measure"]


def test_nothing_to_retry_is_refused_with_a_way_out(worker):
    run = begin(linear())
    with pytest.raises(OperationRefused, match="name a stage"):
        retry_run(run.run_id, **ALICE)
    with pytest.raises(OperationRefused, match="no task of that stage"):
        retry_run(run.run_id, **ALICE, from_stage="image")


def test_from_a_stage_on_completed_tasks_are_done_again_by_copies(worker):
    run = begin(linear())
    finish_all(worker)
    old = {stage: task_of(run, stage) for stage in ("convert", "image", "measure")}
    expected = RetryCounts(respawned=2)
    assert retry_run.preview(run.run_id, RunRetryParams(from_stage="image")) == expected
    assert retry_run(run.run_id, **ALICE, from_stage="image") == expected
    now = state(run)
    assert (now.word, now.total, now.completed, now.superseded) == ("waiting", 3, 1, 2)
    for stage in ("image", "measure"):
        old[stage].refresh_from_db()
        assert (old[stage].status, old[stage].stage) == ("completed", f"{stage}~1")
        event = TaskEvent.objects.get(task_id=old[stage].task_id, event_type="superseded")
        assert event.detail["by"] == str(task_of(run, stage).task_id)
    image = claim_all(worker)["image"]
    assert image.params == {"text": "done"}
    finish(image, "better")
    assert claim_all(worker)["measure"].params == {"text": "better"}


def test_a_second_time_the_copies_are_copied(worker):
    run = begin(linear())
    for _ in range(2):
        finish_all(worker)
        retry_run(run.run_id, **ALICE, from_stage="measure")
    assert set(statuses(run)) == {"convert", "image", "measure", "measure~1", "measure~2"}


def test_from_a_failed_stage_on_nothing_need_be_copied(worker):
    run = begin(linear())
    break_(claim_all(worker)["convert"], "invalid")
    assert retry_run(run.run_id, **ALICE, from_stage="convert") == RetryCounts(retried=1, revived=2)
    assert finish_all(worker) == ["convert", "image", "measure"]


def test_what_failed_behind_a_copy_is_copied_too_and_what_failed_beside_it_retried(worker):
    run = begin(diamond().stage("beside", "note", params=HELLO))
    claims = claim_all(worker)
    finish(claims["top"])
    break_(claims["beside"])
    claims = claim_all(worker)
    finish(claims["left"])
    break_(claims["right"])
    assert statuses(run)["join"] == "failed"
    assert retry_run(run.run_id, **ALICE, from_stage="left") == RetryCounts(retried=2, respawned=2)
    assert set(finish_all(worker)) == {"left", "right", "join", "beside"}
    now = state(run)
    assert (now.word, now.total, now.superseded) == ("completed", 5, 2)


def test_a_waiting_task_behind_a_copy_is_cancelled_and_replaced(worker):
    run = begin(diamond())
    Task.objects.filter(run=run).update(max_retries=0)
    finish(claim_all(worker)["top"])
    claims = claim_all(worker)
    finish(claims["left"])
    break_(claims["right"], "error")
    assert retry_run(run.run_id, **ALICE, from_stage="left") == RetryCounts(retried=1, respawned=2)
    assert statuses(run)["join~1"] == "cancelled"
    assert set(finish_all(worker)) == {"left", "right", "join"}
    assert state(run).word == "completed"


def test_a_copied_join_has_its_quorum_and_a_new_deadline(worker):
    run = begin(fan(4, Join(quorum=3, deadline_sec=600)))
    finish_all(worker)
    assert retry_run(run.run_id, **ALICE, from_stage="image") == RetryCounts(respawned=5)
    mosaic = task_of(run, "mosaic")
    assert mosaic.join_quorum == 3
    assert (mosaic.join_deadline_at - mosaic.created_at).total_seconds() == pytest.approx(600, abs=1)
    for number, claim in enumerate(claim_tasks(worker, limit=10)):
        finish(claim, f"again {number}")
    assert claim_all(worker)["mosaic"].params["titles"] == [f"again {number}" for number in range(4)]


def test_a_stage_that_is_being_worked_on_is_not_done_twice(worker):
    run = begin(linear())
    finish(claim_all(worker)["convert"])
    claim_all(worker)
    with pytest.raises(OperationRefused, match="image is claimed"):
        retry_run(run.run_id, **ALICE, from_stage="convert")
    assert set(statuses(run)) == {"convert", "image", "measure"}


def test_an_unknown_stage_is_refused_and_the_known_ones_named():
    run = begin(linear())
    with pytest.raises(ParamsInvalid, match=r"from_stage: .*convert, image, measure"):
        retry_run(run.run_id, **ALICE, from_stage="imaging")


def test_what_others_wait_for_is_not_replaced(worker):
    run = begin(linear())
    finish(claim_all(worker)["convert"])
    break_(claim_all(worker)["image"])
    begin(RunPlan("target").stage("apply", "note", params=HELLO, depends_on=[task_of(run, "measure").task_id]))
    with pytest.raises(OperationRefused, match="outside the run depends"):
        retry_run(run.run_id, **ALICE, from_stage="convert")
    retry_run(run.run_id, **ALICE)
    assert finish_all(worker) == ["image", "measure", "apply"]


def test_a_run_that_failed_with_another_sends_the_operator_there(worker):
    first = begin(linear())
    solve = task_of(first, "convert")
    second = begin(RunPlan("target").stage("apply", "note", params=HELLO, depends_on=[solve.task_id]))
    break_(claim_all(worker)["convert"])
    with pytest.raises(OperationRefused, match=f"because task {solve.task_id} did"):
        retry_run(second.run_id, **ALICE)
    retry_run(first.run_id, **ALICE)
    assert set(finish_all(worker)) == {"convert", "image", "measure", "apply"}
    assert state(second).word == "completed"
