"""Schedules from the shell."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from tasks_app.models import Schedule, Task, TaskEvent
from tasks_app.operations import schedules as actions

pytestmark = pytest.mark.django_db
NIGHTLY = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}}


def output_of(*arguments: str) -> str:
    output = io.StringIO()
    call_command("absurd_schedules", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture(autouse=True)
def nightly(db) -> Schedule:
    return actions.save("nightly", **NIGHTLY, actor="user:alice")


def test_list_shows_when_each_runs_next_and_why_it_was_refused(nightly):
    Schedule.objects.update(last_error="unknown task name 'gone'")
    text = output_of("list")
    assert "nightly" in text and "0 3 * * * UTC" in text and "unknown task name 'gone'" in text
    (summary,) = json.loads(output_of("list", "--json"))
    assert (summary["name"], summary["enabled"], len(summary["upcoming"])) == ("nightly", True, 5)
    assert summary["next_run_at"] == summary["upcoming"][0]


def test_list_of_nothing_reports_it():
    Schedule.objects.all().delete()
    assert output_of("list") == "there are no schedules\n"
    assert json.loads(output_of("list", "--json")) == []


def test_run_spawns_now_and_shows_what(nightly):
    (output,) = json.loads(output_of("run", "nightly", "--reason", "after repair", "--json"))["done"]
    assert output["task_id"] == str(Task.objects.get().task_id)
    event = TaskEvent.objects.get(event_type="schedule_run")
    assert event.reason == "after repair" and event.actor.startswith("cli:")
    nightly.refresh_from_db()
    assert nightly.next_run_at is not None


def test_disable_and_enable_switch_it():
    assert output_of("disable", "nightly") == "nightly: disabled\n"
    assert not Schedule.objects.get().enabled
    assert json.loads(output_of("list", "--json"))[0]["upcoming"] == []
    assert json.loads(output_of("enable", "nightly", "--json"))["done"][0]["enabled"] is True
    assert Schedule.objects.get().next_run_at is not None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("run", "weekly"), 3), (("run",), 2), (("enable", "weekly"), 3)],
    ids=["unknown", "nameless", "enable unknown"],
)
def test_what_cannot_be_done_has_an_exit_code(arguments, code):
    with pytest.raises(CommandError) as caught:
        output_of(*arguments)
    assert caught.value.returncode == code


def test_a_usage_error_is_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        call_command("absurd_schedules", "stop", "nightly")
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_has_to_try_later_while_absurd_is_disabled(settings):
    settings.ABSURD_ENABLED = False
    with pytest.raises(CommandError) as caught:
        output_of("run", "nightly")
    assert caught.value.returncode == 75
