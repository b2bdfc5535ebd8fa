"""Schedules in the console."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.engine.complete import complete_task
from tasks_app.maintenance.schedules import fire_due
from tasks_app.models import Schedule, Task, TaskEvent
from tasks_app.operations import schedules as actions
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_control_room import QUERIES_MOST
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.notes import REPORT, claim_one

pytestmark = pytest.mark.django_db
LIST = "/admin/tasks_app/schedule/"
FIELDS = {
    "name": "nightly",
    "cron": "30 2 * * *",
    "time_zone": "America/Los_Angeles",
    "task_name": "note",
    "params": '{"text": "a"}',
    "queue_name": "",
    "priority": "5",
    "enabled": "on",
    "catch_up": "one",
    "jitter_sec": "0",
    "reason": "asked by the observers",
}


def make(name: str = "nightly") -> Schedule:
    wanted = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}}
    return actions.save(name, **wanted, actor="user:alice")


def address(schedule: Schedule, page_name: str = "change") -> str:
    return reverse(f"admin:tasks_app_schedule_{page_name}", args=[schedule.pk])


def test_an_administrator_makes_changes_and_deletes_a_schedule():
    admin = log_in("Administrator")
    assert "reason" in page(admin, f"{LIST}add/")
    admin.post(f"{LIST}add/", FIELDS)
    schedule = Schedule.objects.get()
    assert (schedule.created_by, schedule.next_run_at is not None) == ("user:someone", True)
    text = page(admin, address(schedule))
    assert "02:30 P" in text and text.count('class="quiet">') >= 5
    admin.post(address(schedule), FIELDS | {"cron": "0 4 * * *", "reason": "later"})
    schedule.refresh_from_db()
    assert schedule.cron == "0 4 * * *"
    assert "are kept" in page(admin, address(schedule, "delete"))
    admin.post(address(schedule, "delete"), {"confirmed": "yes", "reason": "no longer needed"})
    assert not Schedule.objects.exists()
    output = list(TaskEvent.objects.order_by("id").values_list("event_type", "actor", "reason"))
    assert output == [
        ("schedule_made", "user:someone", "asked by the observers"),
        ("schedule_changed", "user:someone", "later"),
        ("schedule_deleted", "user:someone", "no longer needed"),
    ]


@pytest.mark.parametrize(
    ("wrong", "output"),
    [
        ({"cron": "61 * * * *"}, "not a cron expression"),
        ({"time_zone": "America/Los_Angelos"}, "did you mean America/Los_Angeles"),
        ({"params": "{}"}, "text: Field required"),
        ({"task_name": "notes"}, "Select a valid choice"),
        ({"priority": "21"}, "between 1 and 20"),
        ({"queue_name": "dsa110-pipline"}, "dsa110-pipline is not one of the available choices"),
        ({"jitter_sec": "90000"}, "between 0 and 86400"),
        ({"params": '{"text": "a\\u0000"}'}, "a NUL character"),
        ({"reason": ""}, "This field is required"),
    ],
    ids=["cron", "zone", "params", "task", "priority", "queue", "jitter", "nul", "reason"],
)
def test_what_could_never_run_is_told_beside_its_field(wrong, output):
    response = log_in("Administrator").post(f"{LIST}add/", FIELDS | wrong)
    assert output in response.content.decode()
    assert set(response.context["adminform"].form.errors) == set(wrong)
    assert not Schedule.objects.exists()


def test_adding_a_name_that_exists_changes_nothing():
    make()
    text = log_in("Administrator").post(f"{LIST}add/", FIELDS).content.decode()
    assert "already exists" in text
    assert Schedule.objects.get().cron == "0 3 * * *"


def test_the_list_shows_the_next_run_and_the_last_refusal():
    schedule = make()
    actions.run_now("nightly", actor="user:alice")
    Schedule.objects.update(last_error="unknown task name 'gone'")
    schedule.refresh_from_db()
    text = page(log_in("Viewer"), LIST)
    assert f"{schedule.next_run_at:%Y-%m-%d} 03:00:00Z" in text
    assert str(schedule.last_task_id) in text and "unknown task name" in text and "pill-enabled" in text


def test_an_operator_runs_and_switches_one_schedule_with_a_reason():
    schedule = make()
    operator = log_in("Operator")
    assert "../run/" in page(operator, address(schedule))
    assert "spawned at once" in page(operator, address(schedule, "run"))
    operator.post(address(schedule, "run"), {"confirmed": "yes", "reason": ""})
    assert not Task.objects.exists()
    operator.post(address(schedule, "run"), {"confirmed": "yes", "reason": "after repair"})
    assert Task.objects.get().created_by == "user:someone"
    operator.post(address(schedule, "disable"), {"confirmed": "yes", "reason": "storm"})
    assert not Schedule.objects.get().enabled
    operator.post(address(schedule, "enable"), {"confirmed": "yes", "reason": "over"})
    assert Schedule.objects.get().next_run_at is not None
    output = list(
        TaskEvent.objects.filter(event_type__startswith="schedule_").order_by("id").values_list("event_type", "reason")
    )
    assert output[1:] == [
        ("schedule_run", "after repair"), ("schedule_disabled", "storm"), ("schedule_enabled", "over")
    ]  # fmt: skip
    assert LogEntry.objects.filter(change_message="Disable. Reason: storm").exists()


def test_an_operator_disables_several_from_the_list():
    chosen = [make("a"), make("b")]
    make("c")
    operator = log_in("Operator")
    fields = {"action": "disable_schedules", "_selected_action": [str(each.pk) for each in chosen]}
    asked = operator.post(LIST, fields).content.decode()
    assert "Disable a, b?" in asked and Schedule.objects.filter(enabled=False).count() == 0
    operator.post(LIST, fields | {"confirmed": "yes", "reason": "storm"})
    assert list(Schedule.objects.filter(enabled=False).values_list("name", flat=True)) == ["a", "b"]


def test_a_refused_run_is_told_and_leaves_nothing():
    schedule = make()
    Schedule.objects.update(task_name="gone")
    answer = log_in("Operator").post(address(schedule, "run"), {"confirmed": "yes", "reason": "try"}, follow=True)
    assert "Unknown task name" in answer.content.decode()
    assert not TaskEvent.objects.filter(event_type="schedule_run").exists()


def test_an_operator_may_run_but_not_change_and_a_viewer_may_only_look():
    schedule = make()
    operator = log_in("Operator")
    assert operator.post(address(schedule), FIELDS).status_code == 403
    assert operator.get(address(schedule, "delete")).status_code == 403
    assert "0 3 * * *" in page(operator, address(schedule))
    viewer = log_in("Viewer", name="looker")
    assert "../run/" not in page(viewer, address(schedule))
    assert "disable_schedules" not in page(viewer, LIST)
    for operation in ("run", "enable", "disable"):
        assert viewer.post(address(schedule, operation), {"confirmed": "yes", "reason": "x"}).status_code == 403


def test_the_page_has_the_next_five_runs_what_is_spawned_and_how_the_last_runs_ended(worker):
    schedule = make()
    for hours in (48, 24):
        Schedule.objects.update(next_run_at=clock.now() - timedelta(hours=hours), catch_up="one")
        fire_due()
    complete_task(claim_one(worker), {}, REPORT)
    actions.run_now("nightly", actor="user:alice")
    text = page(log_in("Viewer"), address(schedule))
    assert text.count("data-due=") == 5 and "03:00:00Z" in text
    assert "&quot;text&quot;: &quot;a&quot;" in text and "dsa110-pipeline" in text
    runs = text[text.index("Last runs") :]
    assert re.findall(r'pill pill-(\w+)"', runs) == ["pending", "pending", "completed"]
    assert text.count("<h1") == 1 and 'name="_save"' not in text


def test_the_list_has_the_next_five_runs_and_without_schedules_says_what_to_do():
    admin = log_in("Administrator")
    assert "Add the first one" in page(admin, LIST)
    assert "PUT /api/absurd/schedules/NAME" in page(log_in("Viewer", name="looker"), LIST)
    make()
    assert page(admin, LIST).count("data-due=") == 5
    assert "No schedule matches" in page(admin, f"{LIST}?q=x")


def test_list_and_page_take_few_queries():
    for name in ("a", "b", "c"):
        make(name)
        actions.run_now(name, actor="user:alice")
    viewer = log_in("Viewer")
    for place in (LIST, address(Schedule.objects.get(name="a"))):
        page(viewer, place)
        of_health = queries_of_health()
        with CaptureQueriesContext(connection) as queries:
            page(viewer, place)
        assert len(queries) - of_health <= QUERIES_MOST, [each["sql"][:120] for each in queries]
