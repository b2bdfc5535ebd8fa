"""Requeue, respawn, freeze, thaw and limits over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Limit, Task, TaskEvent
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "spawn", "operate", "admin"))


def test_a_failed_task_is_respawned_with_edited_params(api, worker):
    old = spawn_note(priority=7, timeout_sec=60)
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    body = {"params": {"text": "mended"}, "priority": 12, "timeout_sec": 90, "reason": "path was wrong"}
    response = api.post(f"tasks/{old.task_id}/respawn", body)
    assert response.status_code == 201
    fresh = api.get(response.headers["Location"]).body
    assert fresh["task_id"] == response.body["task_id"] != str(old.task_id)
    assert (fresh["params"], fresh["priority"], fresh["timeout_sec"]) == ({"text": "mended"}, 12, 90)
    copied = TaskEvent.objects.get(event_type="copied")
    assert (copied.actor, copied.reason, copied.detail["from"]) == ("key:ingest", "path was wrong", str(old.task_id))


def test_a_respawn_without_changes_is_a_copy_and_bad_params_spawn_nothing(api):
    old = spawn_note(priority=7)
    copy = api.post(f"tasks/{old.task_id}/respawn").body
    assert (copy["params"], copy["priority"], copy["queue_paused"]) == ({"text": "hello"}, 7, False)
    refused = api.post(f"tasks/{old.task_id}/respawn", {"params": {"copies": 10}})
    assert refused.status_code == 422
    assert {fault["path"] for fault in refused.body["errors"]} == {"params.text", "params.copies"}
    assert Task.objects.count() == 2


def test_a_claim_whose_lease_holds_is_requeued_only_by_force(api, worker):
    task = spawn_note()
    claim_one(worker)
    refused = api.post(f"tasks/{task.task_id}/requeue", {"reason": "looks dead"})
    assert (refused.status_code, refused.body["current_status"]) == (409, "claimed")
    assert "lease is valid" in refused.body["detail"]
    done = api.post(f"tasks/{task.task_id}/requeue", {"reason": "is dead", "force": True})
    assert (done.status_code, done.body["status"], done.body["retry_count"]) == (200, "pending", 1)


def test_a_stalled_claim_is_requeued(api, worker):
    task = spawn_note()
    claim_one(worker)
    Task.objects.filter(pk=task.pk).update(lease_until=clock.now() - timedelta(seconds=1))
    assert api.post(f"tasks/{task.task_id}/requeue").status_code == 200
    assert event_types(task) == ["spawned", "claimed", "retrying"]


def test_freezing_stops_claims_and_thawing_lets_them_go_on(api, worker):
    spawn_note()
    assert api.get("freeze").body == {"frozen": False, "frozen_at": None, "frozen_by": "", "reason": ""}
    assert api.post("freeze").status_code == 422
    frozen = api.post("freeze", {"reason": "disk is full"}).body
    assert (frozen["frozen"], frozen["frozen_by"], frozen["reason"]) == (True, "key:ingest", "disk is full")
    assert api.get("freeze").body == frozen
    assert claim_tasks(worker, limit=1) == []
    again = api.post("freeze", {"reason": "me too"})
    assert (again.status_code, again.body["code"]) == (409, "already_frozen")
    assert api.post("thaw", {"reason": "cleaned"}).body["frozen"] is False
    assert claim_one(worker)
    assert api.post("thaw").body["code"] == "not_frozen"


def test_a_limit_is_set_seen_changed_and_removed(api, worker):
    queue = spawn_note().queue_id
    spawn_note()
    output = api("PUT", f"limits/queue/{queue}", {"size": 1, "reason": "one disk"})
    assert (output.status_code, output.body["size"], output.body["taken"]) == (200, 1, 0)
    assert len(claim_tasks(worker, limit=5)) == 1
    (listed,) = api.get("limits").body["limits"]
    assert listed == {"scope": "queue", "name": queue, "size": 1, "taken": 1, "explicit": True}
    assert api("PUT", f"limits/queue/{queue}", {"size": 4}).body["size"] == 4
    assert api.delete(f"limits/queue/{queue}", {"reason": "new disk"}).status_code == 204
    event = TaskEvent.objects.get(event_type="limit_removed")
    assert (event.actor, event.reason) == ("key:ingest", "new disk")
    assert api.get(f"limits/queue/{queue}").body["code"] == "limit_not_found"


def test_a_limit_keys_name_may_hold_a_slash(api):
    spawn_note(concurrency_key="disk/a")
    assert api("PUT", "limits/key/disk/a", {"size": 3}).status_code == 200
    assert Limit.objects.get(scope="key", name="disk/a").size == 3
    assert [limit["name"] for limit in api.get("limits?scope=key&name=disk/").body["limits"]] == ["disk/a"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("limits/queue/nowhere", {"size": 1}, 404),
        ("limits/planet/a", {"size": 1}, 422),
        ("limits/key/a", {"size": 0}, 422),
        ("limits/key/a", {"size": 1001}, 422),
        ("limits/key/a", {}, 422),
        ("limits/key/a%00b", {"size": 1}, 400),
    ],
    ids=["unknown-queue", "unknown-scope", "none", "too-many", "no-size", "nul"],
)
def test_a_limit_that_cannot_be_is_refused(api, path, body, status):
    assert api("PUT", path, body).status_code == status
    assert not Limit.objects.exists()


def test_limits_are_for_administrators_keys_and_the_emergency_stop_for_operators():
    operator = Caller(make_key("read", "operate"))
    assert operator("PUT", "limits/key/a", {"size": 1}).status_code == 403
    assert operator.post("freeze", {"reason": "fire"}).status_code == 200
    assert Caller(make_key("read", "admin")).post("thaw").status_code == 403
