"""The page of a queue."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.admin import queue_page
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Queue
from tasks_app.operations.queues import pause, set_limit
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_control_room import QUERIES_MOST
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db
QUEUE = "dsa110-pipeline"


@pytest.fixture(autouse=True)
def _durations_of_this_test():
    queue_page._windows.forget()


def address(page_name: str = "change") -> str:
    return reverse(f"admin:tasks_app_queue_{page_name}", args=[Queue.objects.get(name=QUEUE).pk])


def states(text: str) -> dict[str, int]:
    """Return the numbers of the table of states."""
    table = text[text.index('data-live="states"') : text.index("The first five are pending")]
    rows = re.findall(r'class="pill pill-(\w+)".*?<td class="number"><a href="[^"]*">([\d,]+)', table, re.S)
    return {state: int(number) for state, number in rows}


def fill(worker) -> None:
    """Leave tasks in every state of a queue, and one of another queue."""
    for _ in range(2):
        spawn_note(priority=20)
        complete_task(claim_one(worker), {}, REPORT)
    spawn_note(priority=20, max_retries=0)
    fail_attempt(claim_one(worker), "invalid", "no antenna\nmore", REPORT)
    spawn_note(priority=20, max_retries=3)
    fail_attempt(claim_one(worker), "error", "busy", REPORT)
    spawn_note(priority=20)
    parent = claim_one(worker)
    spawn_note(depends_on=[parent.task_id])
    spawn_note(scheduled_at=clock.now() + timedelta(hours=3))
    for _ in range(3):
        spawn_note(priority=7)
    spawn_note(queue_name="other")


def test_the_page_splits_what_is_pending_and_shows_limits_failures_and_workers(worker):
    fill(worker)
    set_limit("queue", QUEUE, size=4, actor="user:olga", reason="memory")
    make_worker(label="elsewhere", queues=["other"])
    Queue.objects.filter(name=QUEUE).update(description="Images. Contact the imaging group.", default_max_retries=2)
    text = page(log_in("Viewer"), address())
    expected = {"claimable": 3, "waiting": 1, "scheduled": 1, "retrying": 1, "claimed": 1, "failed": 1, "completed": 2}
    assert {state: number for state, number in states(text).items() if number} == expected
    for part in ("Contact the imaging group", "4 at once", "no antenna", "worker-1", f"Queue {QUEUE}"):
        assert part in text
    assert "elsewhere" not in text and text.count("<h1") == 1
    assert 'name="_save"' not in text and "/pause/" not in text
    assert '"categories": ["1", "2"' in text and "[6, 3]" in text


def test_its_figures_are_those_of_its_own_tasks(worker):
    fill(worker)
    text = page(log_in("Viewer"), address())
    figures = dict(reversed(pair) for pair in re.findall(r"<strong>([^<]*)</strong> <span>([^<]*)</span>", text))
    assert (figures["in, last hour"], figures["out, last hour"]) == ("10", "3")
    assert re.fullmatch(r"[\d.]+ s / [\d.]+ s", figures["run, median / 95 %"])


def test_it_takes_few_queries_and_reads_no_results(worker):
    fill(worker)
    viewer = log_in("Viewer")
    page(viewer, address())
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        page(viewer, address())
    asked = [each["sql"] for each in queries if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(asked) <= QUERIES_MOST + of_health, "\n".join(asked)
    assert not [sql for sql in asked if '"tasks_app_task"."result"' in sql or '"tasks_app_task"."params"' in sql]


def test_it_is_paused_on_its_own_page_which_comes_back_with_the_reason(worker):
    spawn_note()
    operator = log_in("Operator")
    here = address()
    text = page(operator, here)
    assert f'action="{address("pause")}"' in text and f'name="next" value="{here}"' in text
    fields = {"confirmed": "yes", "reason": "disk full", "next": here}
    answer = operator.post(address("pause"), fields, follow=True)
    assert answer.redirect_chain[-1][0] == here
    text = answer.content.decode()
    assert "pill-paused" in text and "by user:someone: disk full" in text and f'action="{address("resume")}"' in text


def test_an_administrator_changes_what_it_is_for_and_sees_what_is_wrong():
    spawn_note()
    admin = log_in("Administrator")
    assert "Change the description" in page(admin, address())
    fields = {"description": "Call the observer.", "default_timeout_sec": "60", "default_max_retries": ""}
    assert admin.post(address(), fields).status_code == 302
    assert Queue.objects.get().description == "Call the observer."
    wrong = admin.post(address(), fields | {"default_timeout_sec": "soon"}).content.decode()
    assert "Enter a whole number" in wrong


def test_an_idle_queue_without_workers_says_what_to_type():
    Queue.objects.create(name=QUEUE)
    pause(QUEUE, actor="user:olga", reason="moving house")
    text = page(log_in("Viewer"), address())
    for part in (f"manage.py runworker --queue-name {QUEUE}", "No task is pending", "not written down"):
        assert part in text


def test_somebody_without_permissions_does_not_see_it():
    spawn_note()
    assert Client().get(address()).status_code == 302
    assert log_in().get(address()).status_code == 403


def test_the_list_counts_all_queues_with_as_few_queries_as_one_and_says_what_makes_the_first():
    viewer = log_in("Viewer")
    place = reverse("admin:tasks_app_queue_changelist")
    assert "absurd_spawn" in page(viewer, place)
    numbers = []
    for names in (["a"], ["b", "c", "d", "e"]):
        for name in names:
            spawn_note(queue_name=name)
        page(viewer, place)
        of_health = queries_of_health()
        with CaptureQueriesContext(connection) as queries:
            text = page(viewer, place)
        numbers.append(len(queries) - of_health)
    assert numbers[0] == numbers[1] <= QUERIES_MOST
    assert text.count('&amp;status=pending">1</a>') + text.count('&status=pending">1</a>') == 5
