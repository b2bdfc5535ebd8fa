"""Orders to workers, and the states that are derived from their rows."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks_app.errors import OperationRefused, ParamsInvalid, WorkerNotFound
from tasks_app.models import TaskEvent
from tasks_app.monitoring.workers import state_of
from tasks_app.operations.catalogue import OPERATIONS
from tasks_app.operations.workers import drain_worker, pause_worker, resume_worker
from tasks_app.postgresql import clock
from tests.tasks_app.notes import make_worker

pytestmark = pytest.mark.django_db


def test_an_order_is_kept_with_who_gave_it_and_told_once():
    worker = make_worker()
    for _ in range(2):
        worker = pause_worker(worker.pk, actor="user:ann", reason="disk is being mended")
    worker.refresh_from_db()
    assert (worker.ordered, worker.ordered_by, worker.order_reason) == ("pause", "user:ann", "disk is being mended")
    (event,) = TaskEvent.objects.filter(event_type="worker_ordered")
    assert (event.actor, event.reason, event.detail["ordered"]) == ("user:ann", "disk is being mended", "pause")
    assert event.detail["worker"]["boot_id"] == str(worker.pk)
    assert resume_worker(str(worker.pk), actor="user:ann").ordered == ""
    assert TaskEvent.objects.filter(event_type="worker_ordered").last().detail["ordered"] == "resume"


@pytest.mark.parametrize(("ordered", "state"), [("pause", "paused"), ("drain", "draining"), ("recycle", "draining")])
def test_what_was_ordered_shows_in_the_state_even_while_busy(ordered, state):
    worker = OPERATIONS["worker", ordered](make_worker().pk, actor="user:ann", reason="because")
    assert [state_of(worker, clock.now(), busy=busy) for busy in (True, False)] == [state, state]


def test_orders_that_cannot_be_followed_are_refused():
    with pytest.raises(OperationRefused, match="it is stopped"):
        pause_worker(make_worker(stopped_at=clock.now()).pk, actor="user:ann", reason="because")
    with pytest.raises(OperationRefused, match="will not claim again"):
        resume_worker(make_worker(draining=True).pk, actor="user:ann")
    for nobody in (uuid4(), "worker-1"):
        with pytest.raises(WorkerNotFound):
            resume_worker(nobody, actor="user:ann")


def test_an_order_that_stops_work_needs_a_reason():
    worker = make_worker()
    for operation in (pause_worker, drain_worker):
        with pytest.raises(ParamsInvalid, match="reason"):
            operation(worker.pk, actor="user:ann")
    worker.refresh_from_db()
    assert worker.ordered == ""
