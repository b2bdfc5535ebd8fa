from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from tasks_app import formats
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.models import ApiKey, Queue, Run
from tasks_app.operations.queues import pause
from tests.tasks_app.callers import Caller, console_client, make_user
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def log_in(*groups: str, name: str = "someone") -> Client:
    client = Client()
    client.force_login(make_user(name, *groups))
    return client


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return response.content.decode()


def test_the_control_room_shows_health_queues_work_failures_and_workers(worker):
    spawn_note(priority=20)
    fail_attempt(claim_one(worker), "invalid", "no such file\nmore", REPORT)
    spawn_note(priority=20)
    report_progress(claim_one(worker), fraction=0.4, message="major cycle 3 of 8")
    spawn_note()
    text = page(log_in("Viewer"), "/admin/")
    for part in ("pill-healthy", "no such file", "40 %", "major cycle 3 of 8", "worker-1", "pill-active",
                 "?queue=dsa110-pipeline&amp;status=failed"):  # fmt: skip
        assert part in text


def test_the_control_room_says_what_is_wrong_and_what_to_type():
    spawn_note()
    pause("dsa110-pipeline", actor="user:olga", reason="disk full")
    text = page(log_in("Viewer"), "/admin/")
    assert "pill-unhealthy" in text
    assert "manage.py runworker --queue-name dsa110-pipeline" in text
    assert "user:olga: disk full" in text


def test_someone_without_permissions_learns_nothing_from_the_first_page():
    spawn_note()
    text = page(log_in(), "/admin/")
    assert "dsa110-pipeline" not in text


def test_the_login_page_needs_no_database_of_tasks_and_shows_no_state():
    text = page(Client(), "/admin/login/")
    assert "pill" not in text


@pytest.mark.parametrize("name", ["task", "queue", "worker", "taskevent", "run"])
def test_every_list_opens_for_viewers_with_rows_in_it(name, worker):
    run = Run.objects.create(workflow="standard-pipeline")
    spawn_note(run=run)
    claim_one(worker)
    make_worker(label="worker-2", draining=True)
    pause("dsa110-pipeline", actor="user:olga", reason="disk full")
    assert "result_list" in page(log_in("Viewer"), reverse(f"admin:tasks_app_{name}_changelist"))


def test_no_page_holds_a_script_or_style_that_the_policy_would_stop(worker):
    task = spawn_note()
    claim_one(worker)
    person = log_in("Administrator")
    addresses = [
        "/admin/", "/admin/tasks_app/task/", "/admin/tasks_app/queue/", "/admin/tasks_app/worker/",
        reverse("admin:tasks_app_task_change", args=[task.task_id]),
        reverse("admin:tasks_app_task_cancel", args=[task.task_id]),
        reverse("admin:tasks_app_queue_change", args=[task.queue.pk]),
        reverse("admin:tasks_app_task_respawn", args=[task.task_id]),
        "/admin/tasks_app/freeze/", "/admin/tasks_app/limit/add/", "/admin/tasks_app/schedule/",
    ]  # fmt: skip
    for address in addresses:
        text = page(person, address)
        assert re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", text) == [], address
        assert re.findall(r"\s(?:style|onclick|onload|onchange)=", text) == [], address
        assert re.findall(r"(?:src|href)=\"(?:https?:)?//", text) == [], address


def test_the_live_module_is_served_and_names_the_feed():
    found = finders.find("console/live.js")
    assert "/ws/status" in Path(found).read_text()
    entry = "console/console.js"
    assert './live.js"' in Path(finders.find(entry)).read_text()
    assert entry in page(log_in("Viewer"), "/admin/")


def test_an_operator_pauses_and_resumes_a_queue_with_a_reason(worker):
    spawn_note()
    queue = Queue.objects.get()
    operator = log_in("Operator")
    address = reverse("admin:tasks_app_queue_pause", args=[queue.pk])
    assert "No task of this queue is claimed" in page(operator, address)
    operator.post(address, {"confirmed": "yes", "reason": ""})
    queue.refresh_from_db()
    assert not queue.is_paused
    operator.post(address, {"confirmed": "yes", "reason": "disk full"})
    queue.refresh_from_db()
    assert (queue.paused_by, queue.pause_reason) == ("user:someone", "disk full")
    assert claim_tasks(worker, limit=1) == []
    resume = reverse("admin:tasks_app_queue_resume", args=[queue.pk])
    operator.post(resume, {"confirmed": "yes", "reason": "disk cleared"})
    queue.refresh_from_db()
    assert not queue.is_paused
    assert [entry.change_message for entry in LogEntry.objects.order_by("id")] == [
        "Pause. Reason: disk full",
        "Resume. Reason: disk cleared",
    ]


def test_a_viewer_cannot_pause_a_queue_or_edit_it():
    spawn_note()
    queue = Queue.objects.get()
    viewer = log_in("Viewer")
    assert (
        viewer.post(reverse("admin:tasks_app_queue_pause", args=[queue.pk]), {"operation": "Pause"}).status_code == 403
    )
    fields = {"name": "dsa110-pipeline", "description": "mine"}
    assert viewer.post(reverse("admin:tasks_app_queue_change", args=[queue.pk]), fields).status_code == 403
    queue.refresh_from_db()
    assert (queue.is_paused, queue.description) == (False, "")


def test_a_new_key_is_shown_once_and_works():
    admin = log_in("Administrator")
    fields = {"name": "ingest", "scopes": ["read"], "expiry_date_0": "", "expiry_date_1": ""}
    response = admin.post(reverse("admin:tasks_app_apikey_add"), fields, follow=True)
    (message,) = [str(each) for each in response.context["messages"] if "API key for" in str(each)]
    key = message.split("is: ")[1].split(". ")[0]
    assert Caller(key).get("tasks").status_code == 200
    assert Caller(key).post("tasks", {}).status_code == 403
    stored = ApiKey.objects.get()
    assert stored.scopes == ["read"]
    change = page(admin, reverse("admin:tasks_app_apikey_change", args=[stored.pk]))
    assert key not in change


def test_only_administrators_make_keys():
    for group in ("Viewer", "Operator"):
        client = Client()
        client.force_login(make_user(group, group))
        assert client.get(reverse("admin:tasks_app_apikey_add")).status_code == 403


def test_no_attribute_of_the_control_room_is_ended_early_by_markup():
    text = page(log_in("Viewer"), "/admin/")
    assert "(checked " in text
    assert re.findall(r'\w+="[^"]*<[^"]*"', text) == []


def test_who_changed_a_queue_is_told_whatever_it_was_changed_with():
    spawn_note()
    queue = Queue.objects.get()
    address = reverse("admin:tasks_app_queue_history", args=[queue.pk])
    viewer = log_in("Viewer")
    assert "No person, key or command has changed it" in page(viewer, address)
    pause("dsa110-pipeline", actor="key:ingest", reason="disk full")
    log_in("Operator", name="olga").post(
        reverse("admin:tasks_app_queue_resume", args=[queue.pk]), {"confirmed": "yes", "reason": "disk cleared"}
    )
    text = page(viewer, address)
    assert text.index("user:olga") < text.index("key:ingest")
    assert "disk full" in text and "disk cleared" in text


def test_pages_are_called_by_what_they_show_and_moments_are_in_utc():
    administrator = log_in("Administrator")
    key, _ = ApiKey.objects.create_key(name="ingest", scopes=["read"])
    listed = page(administrator, reverse("admin:tasks_app_apikey_changelist"))
    assert "<h1>API keys</h1>" in listed
    assert formats.moment(key.created) in listed
    changed = page(administrator, reverse("admin:tasks_app_apikey_change", args=[key.pk]))
    assert "<h1>ingest</h1>" in changed
    person = make_user("vera")
    assert "<h1>vera</h1>" in page(administrator, reverse("admin:auth_user_change", args=[person.pk]))
    users = page(administrator, reverse("admin:auth_user_changelist"))
    assert "<h1>Users</h1>" in users


def registered_lists() -> list[str]:
    admin.autodiscover()
    return [f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry]


@pytest.mark.parametrize("place", registered_lists())
def test_a_row_that_there_is_not_is_a_page_that_was_not_found(place):
    client = console_client("Administrator")
    User.objects.update(is_superuser=True)
    for guess in ("set", "987654321"):
        answer = client.get(f"/admin/{place}/{guess}/change/")
        own = place in ("tasks_app/freeze",)
        assert answer.status_code == (302 if own else 404), place
        assert own or "Page not found" in answer.content.decode()
    if not own:
        assert client.get(f"/admin/{place}/set/", follow=True).status_code == 404


@pytest.mark.parametrize(
    ("place", "column"),
    [
        ("tasks_app/limit", "scope"), ("tasks_app/schedule", "enabled"), ("tasks_app/apikey", "revoked"),
        ("auth/user", "is_active"), ("auth/user", "groups"),
    ],
)  # fmt: skip
def test_lists_are_filtered_above_their_rows_by_values_that_there_are(place, column):
    client = console_client("Administrator")
    User.objects.update(is_superuser=True)
    page = client.get(f"/admin/{place}/")
    text = page.content.decode()
    assert f'<select name="{column}">' in text and 'id="changelist-filter"' not in text
    (spec,) = [each for each in page.context["cl"].filter_specs if each.parameter_name == column]
    assert spec.lookup_choices
    for value, _ in spec.lookup_choices:
        assert client.get(f"/admin/{place}/", {column: value}).status_code == 200
    assert client.get(f"/admin/{place}/", {column: "purple"}).status_code == 400
