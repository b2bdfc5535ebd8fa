"""Explanations at the doors: API, console, shell."""

from __future__ import annotations

import json
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.monitoring.explain.findings import Code
from tasks_app.operations.queues import pause
from tasks_app.operations.tasks import cancel
from tests.tasks_app.callers import Caller, make_key, make_user
from tests.tasks_app.monitoring.explain.explained import QUEUE, ready_worker
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def paused_task(db: None):
    task = spawn_note()
    pause(QUEUE, actor="user:olga", reason="disk <b> full")
    return task


def test_the_api_explains_to_readers_only(paused_task):
    path = f"tasks/{paused_task.task_id}/explain"
    assert Caller().get(path).status_code == 401
    assert Caller(make_key("spawn", name="spawner")).get(path).status_code == 403
    body = Caller(make_key("read")).get(path).body
    assert set(body) == {
        "task_id", "task_name", "queue_name", "status", "display_status", "as_of", "summary", "is_blocked", "findings"
    }  # fmt: skip
    assert (body["task_id"], body["status"], body["is_blocked"]) == (str(paused_task.task_id), "pending", True)
    assert body["as_of"].endswith("Z")
    first, second = body["findings"]
    assert set(first) == {"code", "severity", "text", "remedy", "detail"}
    assert (first["code"], first["severity"], first["detail"]["by"]) == ("queue_paused", "blocking", "user:olga")
    assert second["code"] == "no_worker"
    assert body["summary"].startswith("Not running: the queue dsa110-pipeline is paused by user:olga since 2")


def test_the_api_knows_no_explanation_of_a_task_that_never_was():
    api = Caller(make_key("read"))
    for task_id in (uuid4(), "nonsense"):
        response = api.get(f"tasks/{task_id}/explain")
        assert (response.status_code, response.body["code"]) == (404, "task_not_found")
    assert api.get(f"tasks/{spawn_note().task_id}/explain?fields=code").status_code == 400


def test_the_schema_lists_the_codes():
    schema = Caller(make_key("read")).get("schema").content
    for code in Code:
        assert f'"{code.value}"'.encode() in schema


@pytest.mark.parametrize("group", ["Viewer", "Operator"])
def test_the_page_of_a_task_shows_why_and_what_to_do(paused_task, group):
    client = Client()
    client.force_login(make_user("someone", group))
    page = client.get(reverse("admin:tasks_app_task_change", args=[paused_task.task_id])).content.decode()
    for part in (
        "verdict-degraded",
        "Not running: the queue dsa110-pipeline is paused by user:olga",
        "disk &lt;b&gt; full",
        "/api/absurd/queues/dsa110-pipeline/resume",
        "Start one: manage.py runworker --queue-name dsa110-pipeline",
    ):
        assert part in page


def test_the_page_of_a_task_in_every_status_has_its_panel():
    worker, client = ready_worker(), Client()
    client.force_login(make_user("someone", "Viewer"))
    for end, words in (
        (None, "Ready to run"),
        ("claim", "Running: attempt 1"),
        ("complete", "It completed at"),
        ("invalid", "It failed at"),
        ("cancel", "It was cancelled by user:olga"),
    ):
        task = spawn_note(priority=20)
        if end == "cancel":
            cancel(task.task_id, actor="user:olga")
        elif end is not None:
            claim = claim_one(worker)
        if end == "complete":
            complete_task(claim, {}, REPORT)
        elif end == "invalid":
            fail_attempt(claim, "invalid", "no such file", REPORT)
        page = client.get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
        assert words in page
        if end is None:
            cancel(task.task_id, actor="user:olga")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("absurd_explain", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_writes_each_cause_with_its_remedy(paused_task):
    lines = run(str(paused_task.task_id)).splitlines()
    assert lines[0].startswith(f"note {paused_task.task_id} in dsa110-pipeline: pending at 2")
    assert lines[1].startswith("Not running: the queue")
    assert lines[3].startswith("1. queue_paused (blocking): The queue dsa110-pipeline is paused")
    assert lines[4].startswith("   Remedy: Resume it")
    assert lines[6].startswith("2. no_worker (blocking): No live worker")


def test_the_command_writes_what_the_api_answers(paused_task):
    output = json.loads(run(str(paused_task.task_id), "--json"))
    answered = Caller(make_key("read")).get(f"tasks/{paused_task.task_id}/explain").body
    assert set(output) == set(answered)
    assert [finding["code"] for finding in output["findings"]] == [each["code"] for each in answered["findings"]]


def test_the_command_exits_with_3_for_an_unknown_task_and_2_for_bad_usage(capsys):
    for text in (str(uuid4()), "nonsense"):
        with pytest.raises(CommandError, match="there is no task") as unknown:
            run(text)
        assert unknown.value.returncode == 3
    for arguments in ([], [str(uuid4()), "--jso"]):
        with pytest.raises(SystemExit) as usage:
            run(*arguments)
        assert usage.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_explanation_asks_a_bounded_number_of_queries(django_assert_max_num_queries):
    from tasks_app.monitoring.explain.explanation import explain

    parents = [spawn_note() for _ in range(3)]
    child = spawn_note(
        depends_on=[spawn_note(depends_on=[each.task_id]).task_id for each in parents], concurrency_key="a"
    )
    running = spawn_note(priority=20)
    claim_one(ready_worker())
    for task in (child, parents[-1], running):
        with django_assert_max_num_queries(9):
            explain(task)
