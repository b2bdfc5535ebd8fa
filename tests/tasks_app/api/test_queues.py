from __future__ import annotations

from datetime import timedelta

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.models import Queue, Worker
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "operate"))


def test_the_configured_queue_is_there_before_its_first_task(api):
    assert api.get("queues").body == ["dsa110-pipeline"]
    assert api.get("queues/dsa110-pipeline/stats").body["total"] == 0


def test_stats_count_each_status_in_the_guides_shape(api, worker):
    for _ in range(3):
        spawn_note()
    spawn_note(queue_name="other")
    complete_task(claim_one(worker), {}, REPORT)
    claim_one(worker)
    assert api.get("queues/dsa110-pipeline/stats").body == {
        "queue_name": "dsa110-pipeline",
        "pending": 1,
        "claimed": 1,
        "completed": 1,
        "failed": 0,
        "cancelled": 0,
        "total": 3,
    }
    assert [each["queue_name"] for each in api.get("queues/stats").body] == ["dsa110-pipeline", "other"]


def test_an_unknown_queue_is_not_found(api):
    response = api.get("queues/nope/stats")
    assert (response.status_code, response.body["code"]) == (404, "queue_not_found")
    assert api.post("queues/nope/pause", {"reason": "x"}).status_code == 404


def test_a_queue_is_paused_with_a_reason_and_resumed(api, worker):
    spawn_note()
    refused = api.post("queues/dsa110-pipeline/pause")
    assert (refused.status_code, refused.body["errors"][0]["path"]) == (422, "reason")
    paused = api.post("queues/dsa110-pipeline/pause", {"reason": "disk full"})
    assert (paused.body["paused"], paused.body["paused_by"]) == (True, "key:ingest")
    assert claim_tasks(worker, limit=1) == []
    assert api.post("queues/dsa110-pipeline/resume").body["paused"] is False
    assert not Queue.objects.get().is_paused


def test_workers_are_listed_with_their_state_and_tasks(api):
    busy = make_worker(label="busy")
    task = spawn_note()
    claim_one(busy)
    make_worker(label="idle")
    for label, silent_sec, stopped in (("stale", 40, False), ("lost", 200, False), ("stopped", 5, True)):
        moment = clock.now() - timedelta(seconds=silent_sec)
        each = make_worker(label=label)
        Worker.objects.filter(pk=each.pk).update(heartbeat_at=moment, stopped_at=moment if stopped else None)
    found = {each["worker_id"]: each for each in api.get("workers").body["workers"]}
    assert {label: each["state"] for label, each in found.items()} == {
        "busy": "active", "idle": "idle", "stale": "stale", "lost": "lost", "stopped": "stopped",
    }  # fmt: skip
    assert found["busy"]["tasks"] == [str(task.task_id)]
    assert found["lost"]["heartbeat_age_sec"] == pytest.approx(200, abs=5)
