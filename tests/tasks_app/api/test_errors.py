"""Errors of every kind are problems with a code, words, a remedy where there is one, and the request's id."""

from __future__ import annotations

import pytest
from rest_framework.exceptions import Throttled

from tasks_app.engine.fail import fail_attempt
from tests.tasks_app.callers import ROOT, Caller, log_in, make_key
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "spawn", "operate", "admin"))


def check_problem(response, status: int, code: str) -> dict:
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    body = response.body
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response["X-Request-ID"]
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    "path",
    ["nowhere", "tasks/x/y/z", "pipeline/nowhere", "pipeline/products/abc", "/api/", "/api/other/x", "runs/1/2/3"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
def test_unknown_routes(api, method, path):
    assert "no such path" in check_problem(api(method, path), 404, "not_found")["detail"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png"])
def test_what_the_caller_will_not_accept(api, accept):
    check_problem(api.get("tasks", Accept=accept), 406, "not_acceptable")


@pytest.mark.parametrize(("method", "path"), [
    ("PUT", "tasks"), ("DELETE", "freeze"), ("POST", "limits"), ("GET", "tasks/bulk"), ("POST", "pipeline/products"),
])  # fmt: skip
def test_methods_that_a_path_does_not_have(api, method, path):
    response = api(method, path)
    check_problem(response, 405, "method_not_allowed")
    assert "OPTIONS" in response["Allow"]


@pytest.mark.parametrize("path", ["tasks", "tasks/bulk", "runs", "freeze", "workers/x/pause"])
def test_bodies_that_are_no_json(api, path):
    check_problem(api.post(path, b"{"), 400, "parse_error")
    check_problem(api.post(path, b'{"a": "' + b"x" * 1_100_000 + b'"}'), 413, "body_too_large")
    response = api.client.post(f"{ROOT}/{path}", "a=b", content_type="text/csv", headers=api.headers)
    response.body = response.json()
    check_problem(response, 415, "unsupported_media_type")


def test_a_form_of_somebody_who_is_logged_in():
    operator = log_in("olga", "Operator")
    operator.client.handler.enforce_csrf_checks = True
    operator.client.cookies["csrftoken"] = "a" * 32
    content = "a=" + "x" * 3_000_000
    response = operator.client.post(f"{ROOT}/tasks", content, content_type="application/x-www-form-urlencoded")
    response.body = response.json()
    check_problem(response, 415, "unsupported_media_type")


def test_an_illegal_move_names_the_status_and_a_cancel_of_a_claimed_task_is_accepted(api, worker):
    task = spawn_note()
    assert (
        check_problem(api.post(f"tasks/{task.task_id}/retry"), 409, "invalid_transition")["current_status"] == "pending"
    )
    claim = claim_one(worker)
    assert api.delete(f"tasks/{task.task_id}").status_code == 202
    fail_attempt(claim, "cancelled", "stopped", REPORT)
    for method, path in (("DELETE", ""), ("POST", "/priority"), ("POST", "/requeue")):
        response = api(method, f"tasks/{task.task_id}{path}", {"priority": 3} if path == "/priority" else {})
        assert check_problem(response, 409, "invalid_transition")["current_status"] == "cancelled"


def test_too_many_requests_say_when_to_come_again(api, monkeypatch):
    def refuse(*_: object) -> None:
        raise Throttled(wait=12.3)

    monkeypatch.setattr("tasks_app.api.views.system.queue_names", refuse)
    response = api.get("queues")
    check_problem(response, 429, "throttled")
    assert response["Retry-After"] == "13"


def test_a_missing_login_and_a_missing_scope_say_what_to_do(api):
    assert "X-API-Key" in check_problem(Caller().get("limits"), 401, "not_authenticated")["remedy"]
    refused = check_problem(Caller(make_key("read")).post("freeze", {"reason": "x"}), 403, "permission_denied")
    assert "operate" in refused["detail"]
    assert refused["remedy"]
