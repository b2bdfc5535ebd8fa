"""The first page: what needs attention and the light, causes of failures, figures, and pausing in place."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.admin import control_room
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Queue, Worker
from tasks_app.operations.queues import pause
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db
QUERIES_MOST = 15


def fail_one(worker: Worker, error: str) -> None:
    spawn_note(priority=20, max_retries=0)
    fail_attempt(claim_one(worker), "error", error, REPORT)


def statements(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as found:
        page(client, address)
    return [each["sql"] for each in found if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))]


def test_a_lost_worker_turns_the_light_amber_and_is_listed_with_its_page_until_acknowledged(worker):
    lost = make_worker(label="imager-7")
    Worker.objects.filter(pk=lost.pk).update(heartbeat_at=clock.now() - timedelta(hours=1))
    operator = log_in("Operator")
    text = page(operator, "/admin/")
    assert "Needs attention: 1" in text
    assert "worker imager-7@" in text
    assert f"/admin/tasks_app/worker/{lost.pk}/change/" in text
    assert text.count("pill-degraded") == 2, "the light in the header is that of the list"
    answer = operator.post(
        "/admin/tasks_app/freeze/acknowledge/",
        {"finding": "lost-workers", "reason": "host is being repaired", "confirmed": "yes"},
    )
    assert answer.status_code == 302
    text = page(operator, "/admin/")
    assert "Nothing needs attention" in text
    assert "by user:someone (host is being repaired)" in text
    assert "pill-degraded" not in text


def test_a_paused_queue_is_listed_with_the_button_that_resumes_it(worker):
    spawn_note()
    pause("dsa110-pipeline", actor="user:olga", reason="disk full")
    queue = Queue.objects.get()
    resume = f'<a class="button" href="/admin/tasks_app/queue/{queue.pk}/resume/">Resume…</a>'
    assert resume in page(log_in("Operator"), "/admin/")
    viewer = page(log_in("Viewer", name="guest"), "/admin/")
    assert resume not in viewer
    assert "Pause…" not in viewer


def test_failures_alike_stand_together_ordered_by_when_they_failed(worker):
    spawn_note(priority=1)
    for error in ("no antenna 12 in /data/1", "disk full", "no antenna 7 in /data/2"):
        fail_one(worker, error)
    text = page(log_in("Viewer"), "/admin/")
    shown = text[text.index("Last failures by cause") : text.index("<h2>Queues")]
    assert shown.index("no antenna 7 in /data/2") < shown.index("disk full")
    assert "no antenna 12" not in shown
    assert ">2</a>" in shown


def test_a_queue_is_paused_on_the_page_itself_and_the_page_comes_back(worker):
    spawn_note()
    queue = Queue.objects.get()
    answer = log_in("Operator").post(
        f"/admin/tasks_app/queue/{queue.pk}/pause/", {"confirmed": "yes", "reason": "maintenance", "next": "/admin/"}
    )
    assert answer["Location"] == "/admin/"
    queue.refresh_from_db()
    assert queue.pause_reason == "maintenance"


@pytest.mark.parametrize("place", ["https://example.org/", "//example.org/", "javascript:alert(1)"])
def test_an_operation_leads_to_no_other_site(worker, place):
    spawn_note()
    queue = Queue.objects.get()
    answer = log_in("Operator").post(
        f"/admin/tasks_app/queue/{queue.pk}/pause/", {"confirmed": "yes", "reason": "x", "next": place}
    )
    assert answer["Location"].startswith("/admin/tasks_app/queue/")


def test_a_panel_whose_statement_fails_leaves_the_others(worker, monkeypatch):
    def slow() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', '1', true), pg_sleep(0)")
            cursor.execute("SELECT pg_sleep(5)")

    spawn_note()
    claim_one(worker)
    monkeypatch.setattr(control_room, "_queues", slow)
    text = page(log_in("Viewer"), "/admin/")
    assert "canceling statement due to statement timeout" in text
    assert "note <code" in text


def test_the_page_costs_a_bounded_number_of_statements(worker):
    for number in range(20):
        spawn_note(priority=20)
        claim_one(worker) if number % 2 else fail_attempt(claim_one(worker), "invalid", f"e{number}", REPORT)
        make_worker(label=f"other-{number}")
    viewer = log_in("Viewer")
    page(viewer, "/admin/")
    found = statements(viewer, "/admin/")
    assert len(found) <= QUERIES_MOST + queries_of_health(), "\n".join(found)
