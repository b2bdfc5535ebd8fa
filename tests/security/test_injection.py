"""Hostile texts, through API and worker into API, console, feed and logs: they come out as texts."""

from __future__ import annotations

import json
import logging
from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from absurd_project.log_lines import OneLine
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.feed import messages, streams
from tasks_app.models import Task, TaskEvent
from tests.security.payloads import LONG, MARK, TEXTS
from tests.tasks_app.callers import Caller, make_key, make_user
from tests.tasks_app.notes import claim_one

pytestmark = pytest.mark.django_db

HARMLESS = {"", "data:,"}


class Page(HTMLParser):
    """Collects what the hostile texts would add to a page if they were not escaped, and the page's text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.planted: list[Any] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        names = {name for name, _ in attrs}
        if any(name.startswith("on") or name == "style" for name in names) or dict(attrs).get("src") == MARK:
            self.planted.append((tag, attrs))
        if tag == "svg" and not attrs:
            return
        if tag == "script" and "src" not in names and dict(attrs).get("type") != "application/json":
            self.planted.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def spawn(api: Caller, text: str) -> Task:
    body = {"task_name": "note", "params": {"text": text, "copies": 1}, "concurrency_key": text[:100], "priority": 20}
    answer = api.post("tasks", body)
    assert answer.status_code in (201, 422), answer.content
    if answer.status_code == 422:
        del body["concurrency_key"]
        answer = api.post("tasks", body)
    assert answer.status_code == 201, answer.content
    return Task.objects.get(task_id=answer.body["task_id"])


@pytest.mark.parametrize("kind", TEXTS)
def test_a_hostile_text_stays_a_text_everywhere(kind, worker):
    text = TEXTS[kind]
    api = Caller(make_key("read", "spawn", "operate", "admin", name=text[:50].replace("\x00", "")))
    task = spawn(api, text)
    assert task.params["text"] == text
    api.post(f"tasks/{task.task_id}/priority", {"priority": 19, "reason": text})
    claim = claim_one(worker)
    report_progress(claim, fraction=0.5, message=text[:200])
    report = AttemptReport(log_tail=text)
    fail_attempt(claim, "invalid", f"{text}\nsecond line", report)
    api.post("queues/dsa110-pipeline/pause", {"reason": text})

    shown = api.get(f"tasks/{task.task_id}")
    assert shown.body["params"]["text"] == text
    events = api.get(f"tasks/{task.task_id}/events").body["events"]
    assert text in [event["reason"] for event in events]
    assert "X-Injected" not in {**shown.headers}
    assert api.get(f"tasks/{task.task_id}/log").status_code == 200

    client = Client()
    client.force_login(make_user("ada", "Administrator"))
    seen = ""
    for address in (
        "/admin/",
        reverse("admin:tasks_app_task_change", args=[task.task_id]),
        reverse("admin:tasks_app_task_retry", args=[task.task_id]),
        reverse("admin:tasks_app_task_respawn", args=[task.task_id]),
        reverse("admin:tasks_app_task_changelist"),
        reverse("admin:tasks_app_taskevent_changelist"),
        reverse("admin:tasks_app_queue_changelist"),
        reverse("admin:tasks_app_limit_changelist"),
        reverse("admin:tasks_app_apikey_changelist"),
    ):
        answer = client.get(address)
        assert answer.status_code == 200, address
        page = Page(answer.content.decode())
        assert page.planted == [], (address, page.planted)
        assert "54439" not in page.text, address  # 7777 × 7
        seen += page.text
    assert text[:20].split("\r")[0] in seen

    for output in messages.messages_of(TaskEvent.objects.order_by("id")):
        if output.message is not None:
            assert "\n" not in output.message.text and "\r" not in output.message.text
            json.loads(output.message.text)
            lines = streams.event_of(output.message).decode().rstrip("\n").split("\n")
            assert [line.partition(":")[0] for line in lines] == ["id", "data"]


@pytest.mark.parametrize("kind", TEXTS)
def test_searches_and_filters_take_a_hostile_text_as_nothing_but_a_text(kind):
    text = TEXTS[kind]
    client = Client()
    client.force_login(make_user("ada", "Administrator"))
    for table in ("task", "taskevent", "run", "worker", "schedule", "limit", "apikey"):
        for name in ("q", "queue", "status", "o", "p", text):
            answer = client.get(reverse(f"admin:tasks_app_{table}_changelist"), {name: text})
            assert answer.status_code in (200, 302, 400), (table, name, answer.status_code)
            assert Page(answer.content.decode()).planted == [], (table, name)
    api = Caller(make_key("read"))
    for name in ("status", "queue_name", "task_name", "q", "limit", "cursor", "fields", "order", text):
        answer = api.client.get("/api/absurd/tasks", {name: text}, headers=api.headers)
        assert answer.status_code in (200, 400), (name, answer.status_code)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tasks_app_task")


@pytest.mark.parametrize("kind", TEXTS)
def test_a_log_line_stays_one_line_that_shows_what_it_is(kind):
    record = logging.LogRecord("absurd", logging.INFO, "x.py", 1, "output %s", (TEXTS[kind],), None)
    line = OneLine("{levelname} {message}", style="{").format(record)
    assert line.isprintable() or kind == "percent", line
    assert line.startswith("INFO output ")


@pytest.mark.parametrize("field", ["task_name", "queue_name", "concurrency_key", "reason", "idempotency"])
def test_a_very_long_text_is_refused_or_kept_and_never_an_error(field):
    api = Caller(make_key("read", "spawn", "operate"))
    body: dict[str, Any] = {"task_name": "note", "params": {"text": "a"}}
    headers = {"Idempotency-Key": LONG} if field == "idempotency" else {}
    if field in ("task_name", "queue_name", "concurrency_key"):
        body[field] = LONG
    answer = api.post("tasks", body, **headers)
    assert answer.status_code in (201, 400, 422), answer.content
    if field == "reason":
        answer = api.delete(f"tasks/{answer.body['task_id']}", {"reason": LONG})
        assert answer.status_code in (200, 422)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800"], ids=["nul", "inner-nul", "surrogate"])
def test_what_cannot_be_stored_is_refused_wherever_it_stands(text):
    api = Caller(make_key("read", "spawn", "operate", "admin"))
    for body in (
        {"task_name": text, "params": {}},
        {"task_name": "note", "params": {"text": text}},
        {"task_name": "note", "params": {text: "a"}},
        {"task_name": "note", "params": {"text": "a"}, "queue_name": text},
    ):
        assert api.post("tasks", body).status_code == 400
    assert api.post("queues/dsa110-pipeline/pause", {"reason": text}).status_code == 400
    if text != "\ud800":
        for path in ("queues/a%00b/stats", "limits/key/a%00b", "schedules/a%00b", "task-names/a%00b", "tasks/a%00b"):
            answer = api.get(path)
            assert (answer.status_code, answer.body["code"]) == (400, "bad_request"), path
        assert api.client.get("/api/absurd/tasks?task_name=%00", headers=api.headers).status_code == 400


def test_bodies_that_are_too_large_or_broken_or_too_deep_are_refused():
    api = Caller(make_key("read", "spawn"))
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    cases = [
        (b'{"task_name": "' + b"a" * 1_000_001 + b'"}', 413),
        (deep[:900_000], 400),
        (b'{"a":' * 60 + b"1" + b"}" * 60, 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe", 400),
        (b'{"task_name": NaN}', 400),
        (b'{"task_name": "note", "params": {"text": 1e999}}', 400),
        (b"9" * 5000, 400),
    ]
    for body, status in cases:
        answer = api("POST", "tasks", body)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), body[:40]


def test_a_large_form_of_somebody_logged_in_is_413_and_no_error():
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    client.force_login(make_user("olga", "Operator"))
    answer = client.post("/api/absurd/tasks", {"a": "x" * 3_000_000})
    assert answer.status_code in (403, 413, 415)
    form = f"a={'x' * 3_000_000}"
    answer = client.post("/api/absurd/tasks", form, content_type="application/x-www-form-urlencoded")
    assert answer.status_code in (403, 413)
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "given", ["a\r\nX-Injected: yes", "a\nb", "é", "x" * 200, "<script>"], ids=["crlf", "lf", "accent", "long", "html"]
)
def test_a_request_id_that_could_split_an_answer_is_not_taken_over(given):
    answer = Client().get("/api/absurd/health", headers={"X-Request-ID": given})
    assert answer["X-Request-ID"] != given
    assert answer["X-Request-ID"].isalnum()
    assert "X-Injected" not in answer
