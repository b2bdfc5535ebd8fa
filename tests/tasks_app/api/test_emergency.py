"""The emergency stop and the way back over HTTP: looked at, confirmed, recorded, and for administrators."""

from __future__ import annotations

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Freeze, Task, TaskEvent, Worker
from tests.tasks_app.callers import Caller, log_in, make_key
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db

WHY = {"reason": "disk is full"}
ALL = {**WHY, "stop_running": True, "cancel_pending": True, "drain_workers": True}


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("admin"))


def confirmed(api: Caller, path: str, body: dict[str, object]):
    token = api.post(path, body).body["token"]
    return api.post(path, {**body, "dry_run": False, "token": token})


def statuses() -> list[str]:
    return sorted(Task.objects.values_list("status", flat=True))


def test_a_look_changes_nothing_and_the_operation_does_what_was_asked_for(api, worker):
    spawn_note()
    claim_one(worker)
    spawn_note(), spawn_note()
    look = api.post("emergency/stop", ALL)
    token = look.body.pop("token")
    there = {"pending": 2, "running": 1, "workers": 1, "refused": 0, "left": 0}
    assert look.body == {"dry_run": True, "frozen": False, "counts": there}
    assert statuses() == ["claimed", "pending", "pending"]
    done = api.post("emergency/stop", {**ALL, "dry_run": False, "token": token})
    assert (done.status_code, done.body) == (200, {"dry_run": False, "frozen": True, "counts": there})
    assert statuses() == ["cancelled", "cancelled", "claimed"]
    assert Task.objects.get(status="claimed").cancel_requested_at is not None
    assert Worker.objects.get().ordered == "drain"
    event = TaskEvent.objects.get(event_type="emergency_stop")
    assert (event.actor, event.reason, event.detail["pending"]) == ("key:ingest", "disk is full", 2)
    assert event.detail["address"] == "192.0.2.7"


def test_without_more_it_freezes_and_keeps_what_there_is(api, worker):
    spawn_note()
    assert confirmed(api, "emergency/stop", WHY).body["frozen"] is True
    assert (statuses(), claim_tasks(worker, limit=1)) == (["pending"], [])
    assert confirmed(api, "emergency/stop", WHY).status_code == 200


def test_the_recovery_brings_back_what_was_cancelled_and_thaws(api, worker):
    spawn_note(), spawn_note()
    confirmed(api, "emergency/stop", {**WHY, "cancel_pending": True})
    again = {"reason": "disk replaced", "retry_cancelled": True}
    look = api.post("emergency/recover", again).body
    assert (*(look["counts"][name] for name in ("cancelled", "failed", "thawed")), look["frozen"]) == (2, 0, True, True)
    assert Freeze.objects.exists()
    done = confirmed(api, "emergency/recover", again).body
    assert (*(done["counts"][name] for name in ("cancelled", "refused", "thawed")), done["frozen"]) == (
        2,
        0,
        True,
        False,
    )
    assert statuses() == ["pending", "pending"]
    assert TaskEvent.objects.get(event_type="emergency_recovery").reason == "disk replaced"
    assert claim_one(worker)


def test_the_recovery_retries_the_failed_tasks_that_fit(api, worker):
    for name in ("here", "there"):
        spawn_note(queue_name=name)
    worker.queues = ["here", "there"]
    for claim in claim_tasks(worker, limit=2):
        fail_attempt(claim, "invalid", "no such file", REPORT)
    confirmed(api, "emergency/stop", WHY)
    body = {"reason": "repaired", "retry_failed": True, "filter": {"queue_name": "here"}}
    assert confirmed(api, "emergency/recover", body).body["counts"]["failed"] == 1
    assert dict(Task.objects.values_list("queue_id", "status")) == {"here": "pending", "there": "failed"}


def test_a_token_is_for_the_same_request_and_caller_and_for_no_more_tasks(api):
    spawn_note()
    request_body = {**WHY, "cancel_pending": True}
    token = api.post("emergency/stop", request_body).body["token"]
    confirmed_body = {**request_body, "dry_run": False, "token": token}
    other = Caller(make_key("admin", name="other"))
    for caller, body in (
        (api, {**confirmed_body, "stop_running": True}),
        (api, {**confirmed_body, "token": token[:-1]}),
        (api, {**confirmed_body, "token": api.post("emergency/recover", WHY).body["token"]}),
        (other, confirmed_body),
    ):
        refused = caller.post("emergency/stop", body)
        assert (refused.status_code, refused.body["code"]) == (409, "confirmation_refused")
    for _ in range(3):
        spawn_note()
    grown = api.post("emergency/stop", confirmed_body)
    assert (grown.status_code, grown.body["code"], grown.body["count"]) == (409, "selection_changed", 4)
    assert (set(statuses()), Freeze.objects.exists()) == ({"pending"}, False)


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("stop", {}, "reason"),
        ("stop", {"reason": " "}, "reason"),
        ("stop", {**WHY, "dry_run": False}, "token"),
        ("stop", {**WHY, "cancel": True}, "cancel"),
        ("recover", {"dry_run": False, "token": "x"}, "reason"),
        ("recover", {**WHY, "filter": {"queue_name": "a"}}, "filter"),
        ("recover", {**WHY, "retry_failed": True, "filter": {"status": "pending"}}, "filter"),
        ("recover", {**WHY, "retry_failed": True, "filter": {"colour": "red"}}, "filter.colour"),
        ("recover", {**WHY, "retry_cancelled": True}, "since"),
    ],
    ids=["no-reason", "blank", "no-token", "unknown", "recover-no-reason", "filter", "status", "colour", "since"],
)
def test_what_is_wrong_is_named_by_its_path(api, path, body, fault):
    answer = api.post(f"emergency/{path}", body)
    assert (answer.status_code, answer.body["errors"][0]["path"]) == (422, fault)
    assert not Freeze.objects.exists()


def test_what_is_not_reached_in_time_is_left_and_keeps_all_frozen(api, monkeypatch):
    spawn_note(), spawn_note()
    monkeypatch.setattr("tasks_app.api.views.operations.OPERATION_SEC", 0.0)
    stopped = confirmed(api, "emergency/stop", {**WHY, "cancel_pending": True}).body
    assert (stopped["counts"]["pending"], stopped["counts"]["left"], stopped["frozen"]) == (2, 2, True)
    monkeypatch.setattr("tasks_app.api.views.operations.OPERATION_SEC", 25.0)
    confirmed(api, "emergency/stop", {**WHY, "cancel_pending": True})
    monkeypatch.setattr("tasks_app.api.views.operations.OPERATION_SEC", 0.0)
    body = {"reason": "repaired", "retry_cancelled": True}
    late = confirmed(api, "emergency/recover", body).body
    assert (late["counts"]["left"], late["counts"]["thawed"], late["frozen"]) == (2, False, True)
    monkeypatch.setattr("tasks_app.api.views.operations.OPERATION_SEC", 25.0)
    assert confirmed(api, "emergency/recover", body).body["counts"]["thawed"] is True
    assert statuses() == ["pending", "pending"]


def test_it_is_for_administrators():
    for caller in (Caller(make_key("read", "spawn", "operate")), log_in("olga", "Operator")):
        assert {caller.post(f"emergency/{operation}", WHY).status_code for operation in ("stop", "recover")} == {403}
    assert log_in("ada", "Administrator").post("emergency/stop", WHY).status_code == 200
    assert Caller().post("emergency/stop", WHY).status_code == 401
