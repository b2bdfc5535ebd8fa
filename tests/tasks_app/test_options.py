"""The options of a task are described once: bounds, wording, and how few places know of each."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandParser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import Field

from absurd_project.local.locations import CHECKOUT
from tasks_app.admin.operation_form import form_field
from tasks_app.api.views.runs import RunStage
from tasks_app.api.views.tasks import Batch, TaskListView
from tasks_app.client import NewTask as ClientTask
from tasks_app.engine.options import Join, ScheduledOptions, TaskOptions
from tasks_app.errors import ParamsInvalid
from tasks_app.management.arguments import add_fields, fields_in
from tasks_app.models import Task
from tasks_app.operations.operation import partial_params
from tasks_app.operations.param_fields import fields_of
from tasks_app.operations.schedules import SaveScheduleParams
from tasks_app.validation import PRIORITY_DEFAULT, bounds_of, kinds_of
from tests.tasks_app.callers import Caller, make_key

BOUNDED = {
    name: bounds_of(field)
    for name, field in TaskOptions.model_fields.items()
    if {int, float} & kinds_of(field.annotation)
}
FILES_MOST = {
    "queue_timeout_sec": 4,
    "total_timeout_sec": 4,
    "scheduled_at": 4,
    "depends_on_runs": 4,
    # Its description, its column, the worker's claim and enforcement of it, and the explanation of a running task.
    "idle_timeout_sec": 5,
}
"""Options whose names mean nothing else anywhere, and in how many files of the product they stand at most."""
PRODUCT = ("tasks_app", "workers", "pipeline_app", "absurd_project")


def problems(**given: Any) -> dict[str, str]:
    with pytest.raises(ParamsInvalid) as caught:
        TaskOptions.model_validate({"task_name": "note", **given})
    return {each["path"]: each["message"] for each in caught.value.problems}


@pytest.mark.parametrize("name", BOUNDED)
def test_the_least_and_the_largest_value_are_taken_and_those_beyond_refused_in_the_same_words(name):
    least, most = BOUNDED[name]
    for value in (least, most):
        assert getattr(TaskOptions(task_name="note", **{name: value}), name) == value
    step = 1 if isinstance(least, int) else least
    for value in (least - step, most + 1):
        assert problems(**{name: value}) == {name: f"must be between {least} and {most} (got {value!r})"}


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("value", [True, "5", [5], float("nan"), float("inf"), 10**400])
def test_what_is_no_number_in_range_is_refused_by_the_path_of_its_option(name, value):
    assert list(problems(**{name: value})) == [name]


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"colour": "red"}, "colour", "unknown field; expected one of task_name, params"),
        ({"scheduled_at": "2026-12-01T10:00:00"}, "scheduled_at", "a moment with its time zone"),
        ({"scheduled_at": datetime(2026, 12, 1)}, "scheduled_at", "a moment with its time zone"),
        ({"scheduled_at": 1_800_000_000}, "scheduled_at", "a moment with its time zone"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "expires_at", "within 3660 days from now"),
        ({"task_name": ""}, "task_name", "1 to 100 characters long (got 0)"),
        ({"queue_name": "a b"}, "queue_name", "1 to 100 letters, digits"),
        ({"concurrency_key": " "}, "concurrency_key", "1 to 200 letters, digits"),
        ({"idempotency_key": "x" * 201}, "idempotency_key", "1 to 200 characters long (got 201)"),
        ({"params": [1]}, "params", "must be an object (got [1])"),
        ({"depends_on": ["7"]}, "depends_on.0", "must be a UUID (got '7')"),
        ({"join": {"quorum": 0}}, "join.quorum", "between 1 and 10000 (got 0)"),
        ({"join": {"deadline_sec": 5}}, "join.quorum", "must be given where there is a deadline"),
    ],
)
def test_other_faults_have_their_path_and_say_what_is_wanted(given, path, message):
    found = problems(**given)
    assert list(found) == [path]
    assert message in found[path]


@pytest.mark.parametrize("given", [{"priority": 21}, {"priority": "5"}, {"queue_name": "a b"}, {"task_name": ""}])
def test_a_schedule_refuses_an_option_in_the_same_words(given):
    with pytest.raises(ParamsInvalid) as caught:
        SaveScheduleParams.parse({"task_name": "note", "cron": "0 3 * * *", **given})
    assert {each["path"]: each["message"] for each in caught.value.problems} == problems(**given)


def test_what_is_left_out_takes_its_default():
    options = TaskOptions(task_name="note")
    assert options.model_dump(exclude_defaults=True) == {"task_name": "note"}
    assert (options.priority, options.params, options.join) == (PRIORITY_DEFAULT, {}, None)
    assert TaskOptions(task_name="note", join={"quorum": 2}).join == Join(quorum=2)


@pytest.mark.django_db
def test_a_request_is_refused_in_the_same_words_and_422():
    answer = Caller(make_key("spawn")).post("tasks", {"task_name": "note", "timeout_sec": 0, "colour": "red"})
    assert answer.status_code == 422
    assert {each["path"]: each["message"] for each in answer.body["errors"]}["timeout_sec"] == (
        "must be between 1 and 604800 (got 0)"
    )


class Wider(TaskOptions):
    """The options with one more, as a change of the description would add it."""

    rehearsals: int | None = Field(default=None, strict=True, ge=1, le=3, description="How often it is rehearsed.")


def test_an_option_that_is_added_to_the_description_is_everywhere():
    parser = CommandParser()
    add_fields(parser, Wider, without=("task_name",))
    given = fields_in(vars(parser.parse_args(["--rehearsals", "2"])), Wider)
    assert Wider(task_name="note", **given).rehearsals == 2
    assert "How often it is rehearsed. (1 to 3)" in " ".join(parser.format_help().split())
    param, _ = fields_of(partial_params("WiderParams", "", Wider, ["rehearsals"]))
    field: Any = form_field(param)
    assert (field.widget.attrs, field.help_text) == ({"min": 1, "max": 3}, "How often it is rehearsed.")
    assert Wider.model_json_schema()["properties"]["rehearsals"]["anyOf"][0]["maximum"] == 3
    assert issubclass(ClientTask, TaskOptions) and issubclass(RunStage, TaskOptions)
    assert issubclass(SaveScheduleParams, ScheduledOptions) and issubclass(TaskOptions, ScheduledOptions)
    assert TaskOptions in kinds_of(Batch.model_fields["tasks"].annotation)


@pytest.mark.parametrize(("name", "most"), FILES_MOST.items())
def test_an_option_is_named_in_few_files(name, most):
    files = [path for top in PRODUCT for kind in ("py", "sql", "html") for path in (CHECKOUT / top).rglob(f"*.{kind}")]
    named = [
        str(path) for path in files if "migrations" not in path.parts and re.search(rf"\b{name}\b", path.read_text())
    ]
    assert len(named) <= most, named


def test_the_description_needs_no_django():
    code = "import sys, tasks_app.engine.options; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0


@pytest.mark.django_db
def test_a_spawn_is_one_statement_and_its_answer_is_what_was_stored():
    api = Caller(make_key("spawn", "read"))
    body = {"task_name": "note", "params": {"text": "é"}, "total_timeout_sec": 60.5, "idle_timeout_sec": 7}
    api.post("tasks", body)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with CaptureQueriesContext(
        connection,
    ) as django:
        answer = api.post("tasks", {**body, "scheduled_at": later})
    of_tasks = [each["sql"] for each in django if "tasks_app_task" in each["sql"]]
    assert of_tasks == [], "the task is read again"
    detail = api.get(f"tasks/{answer.body['task_id']}").body
    assert {name: answer.body[name] for name in detail} == detail
    assert Task.objects.count() == 2


@pytest.mark.django_db
def test_a_post_passes_through_few_modules():
    api, seen = Caller(make_key("spawn")), set()
    body = {"task_name": "note", "params": {"text": "a"}}
    api.post("tasks", body)

    within = 0

    def note(frame: Any, event: str, _: Any) -> None:
        nonlocal within
        file = frame.f_code.co_filename
        if frame.f_code is TaskListView.post.__code__:
            within += {"call": 1, "return": -1}.get(event, 0)
        if event == "call" and within and file.startswith(tuple(f"{CHECKOUT}/{top}/" for top in PRODUCT)):
            seen.add(str(Path(file).relative_to(CHECKOUT)))

    sys.setprofile(note)
    try:
        assert api.post("tasks", body).status_code == 201
    finally:
        sys.setprofile(None)
    # The view, its body and its answer; the engine; the connection. Login and middleware are the same for all requests.
    assert 0 < len(seen) <= 18, sorted(seen)
