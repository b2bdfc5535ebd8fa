"""Keys: what they open, when they were used, what is kept of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.auth import keys
from tasks_app.models import ApiKey, TaskEvent
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key, make_user

pytestmark = pytest.mark.django_db


def writes(call) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        call()
    return [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]


def test_the_use_of_a_key_is_written_once_a_minute():
    api, before = Caller(make_key("read")), clock.now()
    assert len(writes(lambda: api.get("tasks"))) == 1
    used = ApiKey.objects.get().last_used_at
    assert used is not None
    assert before <= used <= clock.now()
    assert writes(lambda: api.get("tasks")) == []


def test_another_process_does_not_write_the_same_minute_again():
    api = Caller(make_key("read"))
    api.get("tasks")
    used = ApiKey.objects.get().last_used_at
    keys.forget_uses()
    api.get("tasks")
    assert ApiKey.objects.get().last_used_at == used
    ApiKey.objects.update(last_used_at=used - timedelta(seconds=90))
    keys.forget_uses()
    api.get("tasks")
    assert ApiKey.objects.get().last_used_at > used - timedelta(seconds=1)


def test_a_refused_key_was_not_used():
    Caller(make_key("read", revoked=True)).get("tasks")
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.django_db(transaction=True)
def test_a_request_does_not_wait_for_whoever_holds_the_keys_row(other_connection):
    api = Caller(make_key("read"))
    with other_connection.transaction():
        other_connection.execute("SELECT 1 FROM tasks_app_apikey FOR UPDATE")
        assert api.get("tasks").status_code == 200
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.parametrize(("scopes", "expected"), [
    (("read", "spawn", "operate"), 403),
    (("admin",), 200),
], ids=["without", "with"])  # fmt: skip
def test_what_changes_how_the_system_works_needs_the_scope_admin(scopes, expected):
    api = Caller(make_key(*scopes))
    assert api("PUT", "limits/key/dish-3", {"size": 2, "reason": "two drives"}).status_code == expected
    answer = api("PUT", "schedules/nightly", {"task_name": "note", "params": {"text": "a"}, "cron": "0 9 * * *"})
    assert answer.status_code == (201 if expected == 200 else 403)
    assert api.delete("schedules/nightly").status_code == (204 if expected == 200 else 403)


def test_a_key_made_in_the_console_is_shown_once_and_its_making_is_on_record():
    client = Client()
    client.force_login(make_user("ada", "Administrator"))
    form = {"name": "correlator", "scopes": ["read", "spawn"], "expiry_date_0": "", "expiry_date_1": ""}
    page = client.post("/admin/tasks_app/apikey/add/", form, follow=True, REMOTE_ADDR="192.0.2.9")
    key = ApiKey.objects.get()
    assert key.prefix in page.content.decode()
    event = TaskEvent.objects.get(event_type="key_made")
    assert (event.actor, event.detail["key"], event.detail["scopes"]) == ("user:ada", key.prefix, ["read", "spawn"])
    assert LogEntry.objects.filter(object_id=key.pk).count() == 1

    change = reverse("admin:tasks_app_apikey_change", args=[quote(key.pk)])
    assert "correlator" in client.get(change).content.decode()
    client.post(change, form | {"revoked": "on"})
    assert TaskEvent.objects.filter(event_type="key_revoked", actor="user:ada").exists()
