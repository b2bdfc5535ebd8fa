from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import Permission, User
from django.core.signing import TimestampSigner, b62_encode

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Task, TaskEvent
from tasks_app.operations import bulk
from tasks_app.operations.operation import SALT
from tests.tasks_app.callers import Caller, log_in, make_key
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db
CANCEL = {"operation": "cancel", "filter": {"status": "pending"}, "reason": "wrong field"}


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "operate"))


def looked(api: Caller, body: dict) -> dict:
    response = api.post("tasks/bulk", body)
    assert response.status_code == 200, response.body
    return response.body


def aged(token: str, *, by_sec: int) -> str:
    """The same token as if it had been given earlier."""

    class Earlier(TimestampSigner):
        def timestamp(self) -> str:
            return b62_encode(int(time.time()) - by_sec)

    signer = Earlier(salt=SALT)
    return signer.sign_object(signer.unsign_object(token))


def do(api: Caller, body: dict, token: str):
    return api.post("tasks/bulk", {**body, "dry_run": False, "token": token})


def test_a_dry_run_counts_shows_and_changes_nothing(api, worker):
    for _ in range(3):
        spawn_note()
    claim_one(worker)
    body = looked(api, {**CANCEL, "filter": {"status": ["pending", "claimed"], "queue_name": "dsa110-pipeline"}})
    assert (body["dry_run"], body["count"], body["statuses"]) == (True, 3, {"claimed": 1, "pending": 2})
    assert [task["status"] for task in body["sample"]] == ["claimed", "pending", "pending"]
    assert {task["refusal"] for task in body["sample"]} == {""}
    assert not Task.objects.filter(cancel_requested_at__isnull=False).exists()
    assert Task.objects.filter(status="cancelled").count() == 0


def test_the_token_of_the_dry_run_does_it_with_the_reason_in_each_tasks_history(api):
    tasks = [spawn_note() for _ in range(3)]
    kept = spawn_note(queue_name="other")
    body = {**CANCEL, "filter": {"status": "pending", "queue_name": "dsa110-pipeline"}}
    done = do(api, body, looked(api, body)["token"])
    assert (done.status_code, done.body["outcomes"], done.body["left"]) == (200, {"cancelled": 3}, 0)
    assert done.body["refused"] == {}
    events = TaskEvent.objects.filter(event_type="cancelled", actor="key:ingest", reason="wrong field")
    assert {event.task_id for event in events} == {task.task_id for task in tasks}
    kept.refresh_from_db()
    assert kept.status == "pending"


def test_what_is_refused_is_told_by_reason_with_the_first_tasks(api, worker):
    spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    failed = spawn_note()
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    body = {"operation": "retry", "filter": {"task_name": "note"}, "reason": "file is back"}
    shown = looked(api, body)
    assert sorted(task["refusal"] for task in shown["sample"]) == ["", "it is completed"]
    done = do(api, body, shown["token"]).body
    assert (done["outcomes"], done["refused"]) == ({"returned to the queue": 1}, {"it is completed": 1})
    assert [refusal["why"] for refusal in done["refusals"]] == ["it is completed"]
    failed.refresh_from_db()
    assert failed.status == "pending"


def test_priorities_are_changed_and_claims_requeued_in_bulk(api, worker):
    for _ in range(2):
        spawn_note()
    body = {"operation": "reprioritize", "filter": {"priority_max": 5}, "priority": 15, "reason": "transit"}
    assert do(api, body, looked(api, body)["token"]).body["outcomes"] == {"given priority 15": 2}
    claim_tasks(worker, limit=2)
    body = {"operation": "requeue", "filter": {"status": "claimed"}, "reason": "host is gone"}
    ((why, count),) = do(api, body, looked(api, body)["token"]).body["refused"].items()
    assert (count, "lease is valid" in why) == (1, True) or count == 2
    body["force"] = True
    assert do(api, body, looked(api, body)["token"]).body["outcomes"] == {"returned to the queue": 2}


def test_a_selection_that_has_grown_by_more_than_a_tenth_and_two_is_left_alone(api):
    for _ in range(4):
        spawn_note()
    token = looked(api, CANCEL)["token"]
    for _ in range(3):
        spawn_note()
    refused = do(api, CANCEL, token)
    assert (refused.status_code, refused.body["code"], refused.body["count"]) == (409, "selection_changed", 7)
    assert Task.objects.filter(status="pending").count() == 7
    Task.objects.order_by("-id").first().delete()
    assert do(api, CANCEL, token).body["outcomes"] == {"cancelled": 6}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"operation": "retry"}, "another operation"),
        ({"filter": {"status": "failed"}}, "another filter"),
        ({"token": "made-up"}, "not issued"),
    ],
    ids=["operation", "filter", "token"],
)
def test_a_token_opens_only_what_it_was_given_for(api, change, word):
    spawn_note()
    token = looked(api, CANCEL)["token"]
    refused = api.post("tasks/bulk", {**CANCEL, "dry_run": False, "token": token, **change})
    assert (refused.status_code, refused.body["code"]) == (409, "confirmation_refused")
    assert word in refused.body["detail"]
    assert Task.objects.get().status == "pending"


def test_a_token_is_the_callers_own_and_lasts_ten_minutes(api):
    spawn_note()
    token = looked(api, CANCEL)["token"]
    other = do(Caller(make_key("read", "operate", name="other")), CANCEL, token)
    assert (other.status_code, "another caller" in other.body["detail"]) == (409, True)
    assert "expired" in do(api, CANCEL, aged(token, by_sec=601)).body["detail"]
    assert Task.objects.get().status == "pending"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({**CANCEL, "filter": {}}, "filter"),
        ({**CANCEL, "filter": {"stauts": "pending"}}, "filter.stauts"),
        ({**CANCEL, "filter": {"status": "running"}}, "filter.status"),
        ({**CANCEL, "priority": 3}, "priority"),
        ({**CANCEL, "operation": "delete"}, "operation"),
        ({**CANCEL, "force": True}, "force"),
        ({**CANCEL, "operation": "reprioritize"}, "priority"),
        ({**CANCEL, "dry_run": False}, "token"),
        ({"operation": "cancel", "filter": {"status": "pending"}, "dry_run": False, "token": "x"}, "reason"),
        ({}, "operation"),
    ],
    ids=["empty", "unknown", "value", "extra", "operation", "force", "priority", "token", "reason", "nothing"],
)
def test_a_request_that_makes_no_sense_is_refused_by_its_path(api, body, path):
    spawn_note()
    response = api.post("tasks/bulk", body)
    assert response.status_code == 422
    assert path in [fault["path"] for fault in response.body["errors"]]
    assert Task.objects.get().status == "pending"


def test_each_operation_needs_its_own_permission():
    assert Caller(make_key("read", "spawn", "admin")).post("tasks/bulk", CANCEL).status_code == 403
    assert log_in("vera", "Viewer").post("tasks/bulk", CANCEL).status_code == 403
    rita = log_in("rita", "Viewer")
    User.objects.get(username="rita").user_permissions.add(Permission.objects.get(codename="retry_task"))
    refused = rita.post("tasks/bulk", CANCEL)
    assert (refused.status_code, "cancel_task" in refused.body["detail"]) == (403, True)
    assert rita.post("tasks/bulk", {**CANCEL, "operation": "retry"}).status_code == 200


def test_a_selection_is_walked_in_chunks(api, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 2)
    for _ in range(5):
        spawn_note()
    assert do(api, CANCEL, looked(api, CANCEL)["token"]).body["outcomes"] == {"cancelled": 5}


def test_what_is_not_reached_in_time_is_left_and_counted(api, monkeypatch):
    monkeypatch.setattr("tasks_app.api.views.operations.OPERATION_SEC", 0.0)
    for _ in range(5):
        spawn_note()
    done = do(api, CANCEL, looked(api, CANCEL)["token"]).body
    assert sum(done["outcomes"].values()) + done["left"] == 5
    assert done["left"] == Task.objects.filter(status="pending").count() >= 4
