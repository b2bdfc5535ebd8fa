from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from tasks_app.models import TaskEvent, Worker
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, log_in, make_key
from tests.tasks_app.notes import claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "operate"))


def test_a_worker_is_shown_with_what_it_holds_by_boot_id_and_by_label(api, worker):
    task = spawn_note()
    claim_one(worker)
    shown = api.get(f"workers/{worker.pk}").body
    assert (shown["worker_id"], shown["boot_id"], shown["state"]) == ("worker-1", str(worker.pk), "active")
    assert shown["tasks"] == [str(task.task_id)]
    make_worker(started_at=clock.now() - timedelta(hours=1))
    assert api.get("workers/worker-1").body["boot_id"] == str(worker.pk)


def test_the_list_has_totals_of_what_it_lists(api, worker):
    spawn_note()
    claim_one(worker)
    make_worker(label="worker-2")
    stopped = make_worker(label="worker-3")
    Worker.objects.filter(pk=stopped.pk).update(stopped_at=clock.now())
    totals = api.get("workers").body["totals"]
    assert (totals["workers"], totals["slots"], totals["tasks"]) == (3, 8, 1)
    assert {state: n for state, n in totals["states"].items() if n} == {"active": 1, "idle": 1, "stopped": 1}
    assert api.get("workers?worker_id=worker-1").body["totals"]["workers"] == 1


@pytest.mark.parametrize("name", [str(uuid4()), "nobody"], ids=["boot-id", "label"])
def test_an_unknown_worker_is_not_found(api, name):
    assert api.get(f"workers/{name}").body["code"] == "worker_not_found"
    assert api.post(f"workers/{name}/drain", {"reason": "x"}).status_code == 404


def test_a_worker_is_paused_resumed_drained_and_recycled_with_reasons(api, worker):
    paused = api.post(f"workers/{worker.pk}/pause", {"reason": "disk is full"}).body
    assert (paused["state"], paused["ordered_by"], paused["order_reason"]) == ("paused", "key:ingest", "disk is full")
    assert api.post("workers/worker-1/resume", {"reason": "cleaned"}).body["state"] == "idle"
    assert api.post(f"workers/{worker.pk}/recycle").body["ordered"] == "recycle"
    assert api.post(f"workers/{worker.pk}/drain", {"reason": "new kernel"}).body["state"] == "draining"
    events = TaskEvent.objects.filter(event_type="worker_ordered").order_by("id")
    assert [(event.detail["ordered"], event.reason) for event in events] == [
        ("pause", "disk is full"), ("resume", "cleaned"), ("recycle", ""), ("drain", "new kernel"),
    ]  # fmt: skip


@pytest.mark.parametrize("operation", ["pause", "drain"])
def test_stopping_a_worker_needs_a_reason(api, worker, operation):
    for body in ({}, {"reason": ""}, {"reason": "  "}):
        assert api.post(f"workers/{worker.pk}/{operation}", body).status_code == 422
    assert Worker.objects.get().ordered == ""


def test_a_worker_that_is_gone_takes_no_orders(api, worker):
    Worker.objects.update(stopped_at=clock.now())
    response = api.post(f"workers/{worker.pk}/pause", {"reason": "x"})
    assert (response.status_code, response.body["code"]) == (409, "operation_refused")
    assert "stopped" in response.body["detail"]


def test_the_list_is_narrowed_by_host_queue_and_label(api, worker):
    make_worker(label="worker-2", host="calib", queues=["other"], stopped_at=clock.now())

    def labels(query: str) -> list[str]:
        return [each["worker_id"] for each in api.get(f"workers?{query}").body["workers"]]

    assert labels("") == ["worker-1", "worker-2"]
    assert labels("host=calib") == labels("queue_name=other") == labels("up=false") == ["worker-2"]
    assert labels("worker_id=worker-1&up=true") == ["worker-1"]
    assert api.get("workers?hots=calib").status_code == 400


def test_only_operators_order_workers(worker):
    for caller in (Caller(make_key("read", "spawn", "admin")), log_in("vera", "Viewer")):
        assert caller.post(f"workers/{worker.pk}/pause", {"reason": "x"}).status_code == 403
    assert log_in("olga", "Operator").post(f"workers/{worker.pk}/pause", {"reason": "x"}).status_code == 200
    assert Worker.objects.get().ordered_by == "user:olga"
