from __future__ import annotations

import csv
import re
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.admin.events import CSV_BATCH, csv_parts
from tasks_app.models import TaskEvent
from tasks_app.models.history import BY_PEOPLE
from tasks_app.operations.queues import pause, resume
from tasks_app.operations.tasks import cancel
from tasks_app.postgresql import clock
from tests.tasks_app.callers import make_key, make_user, queries_of_health
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db
QUERIES_MOST = 15
LIST = "admin:tasks_app_taskevent_changelist"


@pytest.fixture
def viewer() -> Client:
    client = Client()
    client.force_login(make_user("vera", "Viewer"))
    return client


@pytest.fixture
def task(worker):
    """Two people and a key did something, and the queue and a worker too."""
    spawned = spawn_note()
    claim_one(worker)
    pause("dsa110-pipeline", actor="user:olga", reason="disk full")
    resume("dsa110-pipeline", actor="user:ivan", reason="")
    cancel(spawn_note().task_id, actor="key:ingest", reason="=cmd|' /C calc'!A0\u202e")
    return spawned


def shown(client: Client, **query: str) -> list[tuple[str, str]]:
    rows = client.get(reverse(LIST), query).context["cl"].result_list
    return [(row.actor, row.event_type) for row in rows]


def exported(client: Client, **query: str) -> list[dict[str, str]]:
    response = client.get(reverse("admin:page_activity_csv"), query)
    assert response.status_code == 200

    async def read() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return list(csv.DictReader(async_to_sync(read)().decode().splitlines()))


def test_it_shows_what_people_and_keys_did_and_everything_or_a_tasks_events_on_request(viewer, task):
    people = [("key:ingest", "cancelled"), ("user:ivan", "resumed"), ("user:olga", "paused")]
    assert shown(viewer) == people
    assert {name for _, name in shown(viewer, by="everything")} >= {"spawned", "claimed", "paused"}
    assert {name for _, name in shown(viewer, q=str(task.task_id))} == {"spawned", "claimed"}


def test_it_is_narrowed_by_person_key_type_and_time(viewer, task):
    make_key("operate")
    make_user("olga", "Operator")
    assert shown(viewer, by="user:olga") == [("user:olga", "paused")]
    assert shown(viewer, q="ingest") == [("key:ingest", "cancelled")]
    assert shown(viewer, event_type="resumed") == [("user:ivan", "resumed")]
    TaskEvent.objects.filter(actor="user:olga").update(created_at=clock.now() - timedelta(days=3))
    border = (clock.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert shown(viewer, until=border) == [("user:olga", "paused")]
    assert len(shown(viewer, **{"from": border})) == 2
    response = viewer.get(reverse(LIST), {"from": "<b>noon"})
    assert "&lt;b&gt;noon&#x27; is no time such as 2026-10-01T06:00 (UTC)" in response.content.decode()
    text = viewer.get(reverse(LIST)).content.decode()
    for option in ("user:olga", "key:ingest", "resumed"):
        assert f'<option value="{option}"' in text


def test_the_csv_holds_what_is_shown_and_nothing_that_a_spreadsheet_would_run(viewer, task):
    rows = exported(viewer)
    assert [(row["actor"], row["event_type"]) for row in rows] == shown(viewer)
    assert rows[0]["reason"] == "'=cmd|' /C calc'!A0\\u202e"
    assert rows[0]["created_at"].endswith("Z")
    assert [row["actor"] for row in exported(viewer, by="user:ivan")] == ["user:ivan"]
    assert "\\u202e" in viewer.get(reverse(LIST)).content.decode()
    client = Client()
    client.force_login(make_user("nemo"))
    assert client.get(reverse("admin:page_activity_csv")).status_code == 403


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"who": "vera"}])
def test_a_csv_under_a_filter_that_does_not_exist_is_refused(viewer, query):
    answer = viewer.get(reverse("admin:page_activity_csv"), query)
    assert answer.status_code == 400
    assert f"see {next(iter(query))} in the address" in answer.content.decode()


def test_the_csv_is_made_in_bounded_parts_and_ends_at_its_bound():
    number = CSV_BATCH + 50
    TaskEvent.objects.bulk_create(TaskEvent(event_type="paused", actor="user:a") for _ in range(number + 5))

    async def read() -> list[bytes]:
        return [part async for part in csv_parts(TaskEvent.objects.order_by("-id"), most=number)]

    assert [part.count(b"\n") for part in async_to_sync(read)()] == [1, CSV_BATCH, 50]


def test_the_list_asks_few_queries_and_reads_an_index(viewer, task):
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        viewer.get(reverse(LIST))
    assert len(queries) - of_health <= QUERIES_MOST, [each["sql"][:120] for each in queries]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = TaskEvent.objects.filter(BY_PEOPLE).order_by("-id")[:50].explain()
    assert "event_by_people" in plan


def test_with_nothing_in_it_it_says_what_to_do(viewer):
    assert "manage.py absurd_queues" in viewer.get(reverse(LIST)).content.decode()


def test_the_number_of_events_is_in_plain_words(viewer):
    spawn_note()
    text = viewer.get("/admin/tasks_app/taskevent/", {"by": "everything"}).content.decode()
    assert re.search(r"[0-9]+ events?\s*</p>", text) and "task event" not in text
