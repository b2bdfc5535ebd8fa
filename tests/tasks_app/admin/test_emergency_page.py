"""The emergency page: what it shows, previews, asks for and records."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.admin.system import RECOVER, STOP
from tasks_app.models import Queue, Task, TaskEvent, Worker
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.queues import pause
from tasks_app.operations.system import current_freeze, freeze
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_control_room import QUERIES_MOST, fail_one
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.notes import claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db
PAGE = "/admin/tasks_app/freeze/"
QUEUE = "dsa110-pipeline"


def token_in(text: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def operate(client, name: str, **fields: str) -> str:
    """Look at an operation with these params, then confirm it."""
    text = client.post(f"{PAGE}{name}/", {**fields, "look": "yes"}).content.decode()
    return client.post(
        f"{PAGE}{name}/", {**fields, "token": token_in(text), "confirmed": "yes"}, follow=True
    ).content.decode()


def troubles(worker: Worker) -> None:
    """Leave a failed task, two pending ones, a claim that no worker holds any more, and a paused queue."""
    fail_one(worker, "disk full")
    spawn_note(priority=20)
    claim_one(worker)
    Task.objects.filter(status="claimed").update(lease_until=clock.now() - timedelta(minutes=5))
    spawn_note(), spawn_note()
    pause(QUEUE, actor="user:olga", reason="disk full")


def test_every_operation_on_the_system_is_on_the_page_but_the_one_of_the_control_room():
    assert {*STOP, *RECOVER} == {each.name for each in operations_on("system")} - {"acknowledge"}


def test_it_shows_what_there_is_and_what_each_operation_would_do_now(worker):
    troubles(worker)
    text = page(log_in("Administrator"), PAGE)
    figures = dict(reversed(pair) for pair in re.findall(r"<strong>([^<]*)</strong> <span>([^<]*)</span>", text))
    shown = ("pending", "claimed", "failed", "stalled", "paused queues", "workers alive")
    assert [figures[name] for name in shown] == ["2", "1", "1", "1", "1 of 1", "1"]
    assert "now: 2 pending tasks, 1 running task, 1 worker." in text
    assert "now: 1 failed task retried, 1 stalled claim requeued, 1 queue resumed." in text
    assert "Not now: nothing is frozen." in text
    assert text.count("<h1") == 1 and 'aria-current="page">Emergency' in text


def test_stop_and_recovery_are_previewed_and_recorded_and_bring_everything_back(worker):
    troubles(worker)
    admin = log_in("Administrator")
    assert "2 pending tasks" in page(admin, f"{PAGE}emergency-stop/?cancel_pending=on")
    operate(admin, "emergency-stop", cancel_pending="on", reason="")
    assert current_freeze() is None
    operate(admin, "emergency-stop", cancel_pending="on", reason="water on the floor")
    assert current_freeze() is not None and Task.objects.filter(status="cancelled").count() == 2
    assert "2 cancelled tasks retried" in page(admin, PAGE)
    choices = {"retry_failed": "on", "retry_cancelled": "on", "requeue_stalled": "on", "resume_queues": "on"}
    operate(admin, "emergency-recover", **choices, filter="{}", reason="dry again")
    assert current_freeze() is None and not Queue.objects.get(name=QUEUE).is_paused
    assert set(Task.objects.values_list("status", flat=True)) == {"pending"}
    events = TaskEvent.objects.filter(event_type__startswith="emergency_").order_by("id")
    assert [(each.actor, each.reason) for each in events] == [
        ("user:someone", "water on the floor"),
        ("user:someone", "dry again"),
    ]
    assert events[1].detail["stalled"] == 1 and events[1].detail["queues"] == 1
    resumed = TaskEvent.objects.get(event_type="resumed")
    assert (resumed.queue_name, resumed.reason) == (QUEUE, "dry again")
    messages = [entry.change_message for entry in LogEntry.objects.order_by("id")]
    assert [message.split(":")[0] for message in messages] == ["Emergency stop", "Emergency recovery"]


def test_a_stop_drains_workers_and_the_recovery_names_those_to_start_again(worker):
    spawn_note()
    claim_one(worker)
    admin = log_in("Administrator")
    for _ in range(2):  # what is repeated refuses nothing
        text = operate(admin, "emergency-stop", drain_workers="on", reason="water")
        assert "1 worker" in text and "had already ended" not in text
    worker.refresh_from_db()
    assert (worker.ordered, worker.order_reason) == ("drain", "emergency stop: water")
    assert Task.objects.get().status == "claimed"
    Worker.objects.update(stopped_at=clock.now(), draining=True)  # its task has ended, and so has it
    assert "1 drained worker to start again" in page(admin, PAGE)
    assert "1 drained worker to start again" in operate(admin, "emergency-recover", filter="{}", reason="dry again")
    make_worker(label=worker.label)
    assert "to start again" not in page(admin, PAGE)


def test_what_is_not_asked_for_stays_as_it_is(worker):
    troubles(worker)
    freeze(actor="user:olga", reason="water")
    operate(log_in("Administrator"), "emergency-recover", filter="{}", reason="dry again")
    assert current_freeze() is None and Queue.objects.get(name=QUEUE).is_paused
    assert sorted(Task.objects.values_list("status", flat=True)) == ["claimed", "failed", "pending", "pending"]


def test_for_many_tasks_their_number_is_typed():
    for _ in range(101):
        spawn_note()
    admin = log_in("Administrator")
    fields = {"cancel_pending": "on", "reason": "water"}
    text = admin.post(f"{PAGE}emergency-stop/", {**fields, "look": "yes"}).content.decode()
    assert "Type 101:" in text
    sent = {**fields, "token": token_in(text), "confirmed": "yes", "expected": "101"}
    for typed in ({}, {"typed": "100"}):
        assert "look again" in admin.post(f"{PAGE}emergency-stop/", sent | typed).content.decode()
    assert current_freeze() is None and not Task.objects.filter(status="cancelled").exists()
    admin.post(f"{PAGE}emergency-stop/", sent | {"typed": "101"})
    assert current_freeze() is not None and Task.objects.filter(status="cancelled").count() == 101


def test_an_operator_freezes_and_a_viewer_only_looks():
    operator = page(log_in("Operator"), PAGE)
    assert 'href="freeze/"' in operator and "emergency-stop/" not in operator
    viewer = page(log_in("Viewer", name="looker"), PAGE)
    assert 'href="freeze/"' not in viewer and "Administrators may stop and recover" in viewer


def test_it_takes_few_queries(worker):
    troubles(worker)
    make_worker(label="second")
    admin = log_in("Administrator")
    page(admin, PAGE)
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        page(admin, PAGE)
    asked = [each["sql"] for each in queries if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(asked) <= QUERIES_MOST + of_health, "\n".join(each[:150] for each in asked)
