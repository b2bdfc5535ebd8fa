from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tasks_app.models import ApiKey, Task
from tests.tasks_app.callers import ROOT, Caller, make_key, make_user
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db

SPAWN = {"task_name": "note", "params": {"text": "a"}}


def test_anonymous_callers_are_refused_and_told_how_to_come_back():
    response = Caller().get("tasks")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("ApiKey")
    assert (response.body["code"], "X-API-Key" in response.body["remedy"]) == ("not_authenticated", True)


def test_a_key_may_stand_in_either_header():
    key, none = make_key("read"), Caller()
    for shown in (f"Bearer {key}", f"bearer  {key} "):
        assert none.get("tasks", Authorization=shown).status_code == 200
    wrong = none.get("tasks", Authorization="Bearer wrong.key")
    assert (wrong.status_code, wrong.body["code"]) == (401, "bad_api_key")
    assert 'Bearer realm="absurd"' in wrong.headers["WWW-Authenticate"]
    assert none.get("tasks", **{"X-API-Key": "wrong.key", "Authorization": f"Bearer {key}"}).status_code == 401
    assert Caller(key).get("tasks", Authorization="Basic dmVyYTp4").status_code == 200, "a proxy's own login"
    assert none.get("tasks", Authorization=f"Basic {key}").body["code"] == "not_authenticated"
    assert none.post("feed/ticket", Authorization=f"Bearer {key}").status_code == 201


def test_the_schema_offers_both_headers():
    schema = Caller(make_key("read")).get("schema?format=json").body
    schemes = schema["components"]["securitySchemes"]
    assert (schemes["apiKey"]["name"], schemes["bearerKey"]) == ("X-API-Key", {"type": "http", "scheme": "bearer"})
    conditions = {each["name"]: each["schema"] for each in schema["paths"]["/api/absurd/tasks"]["get"]["parameters"]}
    assert (conditions["task_name"]["minLength"], conditions["status"]["minItems"]) == (1, 1)
    offered = schema["paths"]["/api/absurd/tasks"]["get"]["security"]
    assert {"apiKey": []} in offered and {"bearerKey": []} in offered


FRONT = "https://front.example.org"


def test_a_front_end_of_a_named_origin_may_call_with_a_key_but_without_cookies(settings):
    settings.CORS_ALLOWED_ORIGINS = [FRONT]
    asked = {"Origin": FRONT, "Access-Control-Request-Method": "POST"}
    asked |= {"Access-Control-Request-Headers": "authorization,content-type"}
    preflight = Caller()("OPTIONS", "tasks", **asked)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, FRONT)
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    api = Caller(make_key("read", "spawn"), Origin=FRONT)
    for answer in (
        api.get("tasks"),
        api.post("tasks", SPAWN),
        api.get("tasks/nothing"),
        Caller(Origin=FRONT).get("tasks"),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == FRONT, answer.status_code
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in api.get("/admin/login/").headers, "the console is no API"


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", f"{FRONT}.evil.org", "http://front.example.org", "null"]
)
def test_other_origins_are_answered_without_permission(settings, origin):
    settings.CORS_ALLOWED_ORIGINS = [FRONT]
    assert "Access-Control-Allow-Origin" not in Caller(make_key("read"), Origin=origin).get("tasks").headers


def test_health_is_open_but_terse():
    response = Caller().get("health")
    assert set(response.body) == {"status", "message", "queue"}
    assert "runworker" not in response.body["message"]


def test_health_refuses_a_question_that_it_does_not_understand():
    answer = Caller().get("health?checks=perhaps")
    assert (answer.status_code, answer.body["errors"][0]["path"]) == (400, "checks")


def test_health_tells_a_reader_the_reasons():
    spawn_note()
    response = Caller(make_key("read")).get("health")
    assert (response.status_code, response.body["status"]) == (503, "unhealthy")
    assert "No active workers" in response.body["message"]
    assert response.body["reasons"]


def test_this_machine_may_read_in_local_mode_and_nothing_more():
    local = Caller(address="127.0.0.1")
    assert local.get("tasks").status_code == 200
    assert local.post("tasks", SPAWN).status_code == 401
    assert Caller(address="::1").get("queues").status_code == 200
    assert not Task.objects.exists()


def test_local_reading_is_off_in_production(settings):
    settings.ABSURD_MODE = "production"
    assert Caller(address="127.0.0.1").get("tasks").status_code == 401


def test_a_forwarded_address_is_never_believed():
    assert Caller().get("tasks", **{"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_local_reading_needs_a_local_name_so_that_a_rebound_one_fails(settings):
    settings.ALLOWED_HOSTS = ["localhost", "absurd.example.org"]
    local = Caller(address="127.0.0.1")
    assert local.get("tasks", Host="absurd.example.org").status_code == 401
    assert local.get("tasks", Host="evil.example.org").status_code == 400


@pytest.mark.parametrize(("scopes", "read", "spawn", "operate"), [
    (("read",), 200, 403, 403),
    (("spawn",), 403, 201, 403),
    (("operate",), 403, 403, 200),
    (("read", "spawn", "operate"), 200, 201, 200),
    ((), 403, 403, 403),
])  # fmt: skip
def test_a_key_opens_its_scopes_only(scopes, read, spawn, operate):
    task = spawn_note()
    api = Caller(make_key(*scopes))
    assert api.get("tasks").status_code == read
    assert api.post("tasks", SPAWN).status_code == spawn
    assert api.post(f"tasks/{task.task_id}/priority", {"priority": 9}).status_code == operate


def test_the_configured_key_opens_everything(settings):
    settings.ABSURD_API_KEY = "secure_random_key"
    api = Caller("secure_random_key")
    assert api.post("tasks", SPAWN).status_code == 201
    assert Task.objects.get().created_by == "key:ABSURD_API_KEY"
    assert Caller("secure_random_kez").get("tasks").status_code == 401


def test_an_empty_configured_key_opens_nothing(settings):
    settings.ABSURD_API_KEY = ""
    assert Caller("").get("tasks").status_code == 401
    assert Caller(" ").get("tasks").status_code == 401


def test_revoked_expired_and_orphaned_keys_open_nothing():
    gone = make_user("gone")
    keys = [
        make_key("read", revoked=True),
        make_key("read", expiry_date=timezone.now() - timedelta(seconds=1)),
        make_key("read", owner=gone),
        make_key("read")[:-1],
        "nonsense",
    ]
    gone.is_active = False
    gone.save()
    for key in keys:
        response = Caller(key, address="127.0.0.1").get("tasks")
        assert (response.status_code, response.body["code"]) == (401, "bad_api_key")


def test_keys_are_stored_hashed():
    key = make_key("read")
    stored = ApiKey.objects.get()
    assert key.split(".")[1] not in (stored.hashed_key, stored.id)


def log_in(name: str, *groups: str) -> Caller:
    caller = Caller()
    caller.client.force_login(make_user(name, *groups))
    caller.client.handler.enforce_csrf_checks = True
    return caller


def test_a_viewer_may_look_and_not_touch():
    task = spawn_note()
    viewer = log_in("vera", "Viewer")
    assert viewer.get("tasks").status_code == 200
    token = {"X-CSRFToken": csrf(viewer)}
    assert viewer.delete(f"tasks/{task.task_id}", **token).status_code == 403
    assert viewer.post("tasks", SPAWN, **token).status_code == 403
    task.refresh_from_db()
    assert task.status == "pending"


def csrf(caller: Caller) -> str:
    caller.client.get("/admin/")
    from django.middleware.csrf import _get_new_csrf_string

    secret = _get_new_csrf_string()
    caller.client.cookies["csrftoken"] = secret
    return secret


def test_an_operator_acts_under_their_own_name_with_a_csrf_token():
    task = spawn_note()
    operator = log_in("olga", "Operator")
    refused = operator.delete(f"tasks/{task.task_id}")
    assert (refused.status_code, "CSRF" in refused.body["detail"]) == (403, True)
    assert operator.delete(f"tasks/{task.task_id}", **{"X-CSRFToken": csrf(operator)}).status_code == 200
    assert operator.get(f"tasks/{task.task_id}/events").body["events"][-1]["actor"] == "user:olga"


def test_someone_logged_in_without_any_group_sees_nothing():
    assert log_in("nora").get("tasks").status_code == 403


@pytest.mark.parametrize("path", ["health", "queues", "queues/stats", "tasks", "workers"])
def test_every_path_works_with_and_without_a_slash(path):
    api = Caller(make_key("read"))
    assert api.get(path).body == api.get(f"{path}/").body
    assert api.get(f"{path}/").status_code in (200, 503)


def test_a_post_with_a_slash_is_not_redirected():
    assert Caller(make_key("spawn")).post("tasks/", SPAWN).status_code == 201


def test_the_request_id_is_echoed_or_made():
    api = Caller()
    assert api.get("health", **{"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    made = api.get("tasks", **{"X-Request-ID": "not usable \u00e9"})
    assert len(made.headers["X-Request-ID"]) == 32
    assert made.body["request_id"] == made.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "nowhere", 404, "not_found"),
        ("POST", "tasks/x/y/z", 404, "not_found"),
        ("GET", "/api/other", 404, "not_found"),
        ("PUT", "tasks", 405, "method_not_allowed"),
        ("DELETE", "health", 405, "method_not_allowed"),
    ],
)
def test_errors_outside_the_views_are_problems_too(method, path, status, code):
    response = Caller(make_key("read", "spawn", "operate"))(method, path)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.body["code"], response.body["status"]) == (code, status)


def test_a_body_that_is_not_json_is_refused_as_such():
    api = Caller(make_key("spawn"))
    response = api.client.post(
        f"{ROOT}/tasks", "a=b", content_type="application/x-www-form-urlencoded", headers=api.headers
    )
    assert (response.status_code, response["Content-Type"]) == (415, "application/problem+json")


def test_an_unexpected_error_leaks_nothing(monkeypatch, caplog):
    def explode(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("tasks_app.api.views.system.queue_stats", explode)
    response = Caller(make_key("read")).get("queues/stats")
    assert (response.status_code, response.body["code"]) == (500, "internal_error")
    assert b"hunter2" not in response.content
    assert response.body["request_id"] in caplog.text
    assert "hunter2" in caplog.text


def test_while_disabled_spawning_is_503_and_health_says_so(settings):
    settings.ABSURD_ENABLED = False
    api = Caller(make_key("read", "spawn"))
    assert api.post("tasks", SPAWN).status_code == 503
    assert api.get("health").body["status"] == "disabled"


def test_nothing_changes_by_get():
    task = spawn_note()
    api = Caller(make_key("read", "spawn", "operate"))
    for path in (f"tasks/{task.task_id}/retry", f"tasks/{task.task_id}/priority", "queues/dsa110-pipeline/pause"):
        assert api.get(path).status_code == 405


def test_every_answer_forbids_foreign_content():
    policy = Caller().get("health").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
