"""The forms that spawn a task and a changed copy of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline_app.registration import check_paths
from tasks_app.engine import registry
from tasks_app.models import Task, TaskEvent
from tasks_app.operations.queues import pause
from tasks_app.testing import registered
from tests.tasks_app.admin.test_pages import log_in
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db
SPAWN = "/admin/spawn/?task_name=take-picture"


def names_something(text: str) -> str:
    if text == "none":
        raise ValueError("must name something")
    return text


class FieldSource(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    flux_jy: float | None = None


class PictureParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ms_path: str = Field(min_length=1, description="What the picture is of")
    cell_arcsec: float = Field(3.0, gt=0, le=60, description="Side of a cell")
    weighting: Literal["natural", "uniform"] = "natural"
    clean: bool = True
    rounds: int = Field(3, ge=0)
    sources: list[FieldSource] = []
    about: FieldSource | None = None
    label: Annotated[str, AfterValidator(names_something)] = "picture"


PICTURE = registry.TaskSpec(
    name="take-picture", handler="tests.tasks_app.notes:write", params_model=PictureParams, check_params=check_paths,
    description="Takes a picture.",
)  # fmt: skip


@pytest.fixture(autouse=True)
def picture_is_registered() -> Iterator[None]:
    with registered(PICTURE):
        yield


@pytest.fixture
def ms_path(settings: Any) -> str:
    return str(settings.ABSURD_DATA_ROOTS[0] / "a.ms")


def token(text: str) -> str:
    return re.search(r'name="token" value="([^"]+)"', text).group(1)  # type: ignore[union-attr]


def look(client: Client, address: str, **fields: str) -> str:
    answer = client.post(address, {"look": "yes", **fields})
    assert answer.status_code == 200
    return answer.content.decode()


def faults(text: str) -> dict[str, str]:
    """Return the first fault of each field."""
    rows = re.findall(r'errorlist"[^>]*><li>(.*?)</li>.*?name="([^"]+)"', text, re.DOTALL)
    return {name: message for message, name in rows}


def test_a_task_name_is_chosen_from_those_that_are_registered():
    client = log_in("Operator")
    assert 'href="?task_name=take-picture"' in client.get("/admin/spawn/").content.decode()
    answer = client.get("/admin/spawn/", {"task_name": "take-pictures"}, follow=True)
    assert "take-picture" in str(next(iter(answer.context["messages"])))


def test_the_form_has_a_field_for_each_param_with_its_unit_bounds_and_default(django_assert_max_num_queries):
    client = log_in("Operator")
    with django_assert_max_num_queries(15 + queries_of_health()):
        text = client.get(SPAWN).content.decode()
    for part in (
        'name="params.ms_path"', "What the picture is of", '<span class="unit">arcsec</span>', "default 3.0",
        "more than 0 and at most 60", '<option value="" selected>default (natural)</option>',
        '<option value="" selected>default (yes)</option>', '<option value="uniform">uniform</option>',
        '<optgroup label="critical, 15 to 20">', '<textarea name="params.sources"',
    ):  # fmt: skip
        assert part in text, part


def test_a_task_is_shown_before_it_is_spawned_and_sent_twice_is_spawned_once(ms_path):
    client = log_in("Operator")
    fields = {
        "params.ms_path": ms_path, "params.weighting": "uniform", "params.clean": "false", "priority": "16",
        "params.sources": '[{"name": "3C48"}]',
    }  # fmt: skip
    text = look(client, SPAWN, **fields)
    assert not Task.objects.exists()
    assert (
        "curl -X POST http://testserver/api/absurd/tasks" in text
        and "await client.spawn(&#x27;take-picture&#x27;, {" in text
    )
    assert "&quot;weighting&quot;: &quot;uniform&quot;" in text and "rounds&quot;" not in text
    for _ in range(2):
        answer = client.post(SPAWN, {"confirmed": "yes", "token": token(text), **fields})
        assert answer.status_code == 302
    task = Task.objects.get()
    assert answer["Location"] == reverse("admin:tasks_app_task_change", args=[task.task_id])
    assert task.params == {"ms_path": ms_path, "weighting": "uniform", "clean": False, "sources": [{"name": "3C48"}]}
    assert (task.priority, task.created_by) == (16, "user:someone")
    assert LogEntry.objects.filter(change_message="Spawn take-picture").exists()


def test_what_was_not_shown_is_not_spawned(ms_path):
    client = log_in("Operator")
    fields = {"params.ms_path": ms_path, "priority": "5"}
    text = look(client, SPAWN, **fields)
    answer = client.post(SPAWN, {"confirmed": "yes", "token": token(text), **fields, "priority": "20"})
    assert "This is not what was shown before" in answer.content.decode()
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("field", "given", "fault"),
    [
        ("params.ms_path", "", "This field is required"),
        ("params.ms_path", "/etc/passwd", "is not an absolute path under ABSURD_DATA_ROOTS"),
        ("params.cell_arcsec", "0", "greater than 0"),
        ("params.cell_arcsec", "wide", "Enter a number"),
        ("params.weighting", "robust", "Select a valid choice"),
        ("params.sources", '[{"flux_jy": 1}]', "0.name: Field required"),
        ("params.sources", "[{", "is no JSON; write a list, such as"),
        ("params.sources", "{}", "write a list, such as"),
        ("params.about", "[]", "write an object, such as"),
        ("timeout_sec", "0", "must be between 1 and 604800 (got 0)"),
        ("scheduled_at", "tomorrow", "must be a moment with its time zone"),
        ("scheduled_at", "9999-12-31T23:59", "days from now (got 9999-12-31T23:59Z)"),
        ("expires_at", "9999-12-31T23:59-12:00", "days from now (got 9999-12-31T23:59-12:00)"),
        ("depends_on", '["x"]', "<li>must be a UUID (got &#x27;x&#x27;)"),
        ("depends_on", "x", "is no JSON; write a list of task ids, such as [&quot;01a2…&quot;]"),
        ("depends_on_runs", "{}", "write a list of run ids, such as [&quot;01a2…&quot;]"),
        ("params.label", "none", "<li>must name something"),
        ("join", '{"deadline_sec": 5}', "quorum: must be given where there is a deadline"),
    ],
)
def test_a_fault_stands_beside_its_field(field, given, fault, ms_path):
    text = look(log_in("Operator"), SPAWN, **{"params.ms_path": ms_path, field: given})
    found = faults(text)
    assert found.keys() == {field}
    assert fault in f"<li>{found[field]}"
    assert 'name="confirmed"' not in text


def test_a_field_that_the_form_does_not_have_is_refused(ms_path):
    client = log_in("Operator")
    text = look(client, SPAWN, **{"params.ms_path": ms_path, "params.roundz": "1"})
    assert "unknown field &#x27;params.roundz&#x27;; expected one of params.ms_path" in text
    assert 'name="confirmed"' not in text
    task = spawn_note()
    for name in ("respawn", "cancel"):
        address = reverse(f"admin:tasks_app_task_{name}", args=[task.task_id])
        fields = {"confirmed": "yes", "expected": "1", "reason": "wrong tile", "resaon": "x"}
        assert "unknown field &#x27;resaon&#x27;" in client.post(address, fields).content.decode()
    assert Task.objects.get().status == "pending"


@pytest.mark.parametrize(("given", "meant"), [("2027-01-02 03:04", "2027-01-02T03:04:00Z"), ("2027-01-02", None)])
def test_a_moment_without_a_time_zone_is_utc(given, meant, ms_path):
    text = look(log_in("Operator"), SPAWN, **{"params.ms_path": ms_path, "scheduled_at": given})
    assert (meant or "2027-01-02T00:00:00Z") in text


@pytest.mark.parametrize("text", ["[" * 5000, "[" + "9" * 5000 + "]"])
def test_json_that_python_cannot_hold_is_a_fault_of_its_field(text, ms_path):
    answer = log_in("Operator").post(SPAWN, {"params.ms_path": ms_path, "depends_on": text, "look": "1"})
    assert answer.status_code == 200
    assert "is no JSON; write a list of task ids" in answer.content.decode()


def test_what_only_the_spawn_finds_stands_beside_its_field_too(ms_path):
    client = log_in("Operator")
    fields = {"params.ms_path": ms_path, "depends_on": '["00000000-0000-0000-0000-000000000001"]'}
    answer = client.post(SPAWN, {"confirmed": "yes", "token": token(look(client, SPAWN, **fields)), **fields})
    assert "there is no task" in faults(answer.content.decode())["depends_on"]


def test_a_paused_queue_is_named_before_the_spawn(ms_path):
    spawn_note(queue_name="other")
    pause("other", actor="user:olga", reason="disk full")
    text = look(log_in("Operator"), SPAWN, **{"params.ms_path": ms_path, "queue_name": "other"})
    assert "other is paused by user:olga: disk full" in text


def test_a_viewer_spawns_nothing(ms_path):
    viewer = log_in("Viewer")
    assert viewer.get(SPAWN).status_code == 403
    assert viewer.post(SPAWN, {"confirmed": "yes", "params.ms_path": ms_path}).status_code == 403
    assert 'href="/admin/spawn/"' not in viewer.get("/admin/").content.decode()


def test_a_copy_shows_what_differs_before_and_in_its_events():
    old = spawn_note(params={"text": "hello", "copies": 2})
    client, address = log_in("Operator"), reverse("admin:tasks_app_task_respawn", args=[old.task_id])
    text = client.get(address).content.decode()
    assert re.search(r'name="params.text" value="hello"', text)
    assert '<option value="5" selected>5 normal</option>' in text
    fields = {"params.text": "again", "params.copies": "", "priority": "12", "timeout_sec": str(old.timeout_sec)}
    fields |= {"max_retries": str(old.max_retries), "reason": "typing error"}
    text = look(client, address, **fields)
    for name, before, after in (
        ("params.text", "hello", "again"),
        ("params.copies", "2", "–"),
        ("priority", "5", "12"),
    ):
        row = f'<th scope="row">{name}</th><td><del>{before}</del></td><td><ins>{after}</ins></td>'
        assert row in text
    assert f"/tasks/{old.task_id}/respawn" in text
    client.post(address, {"confirmed": "yes", "token": token(text), **fields})
    fresh = Task.objects.exclude(pk=old.pk).get()
    client.post(address, {"confirmed": "yes", "token": token(text), **fields})
    fresh = Task.objects.exclude(pk=old.pk).get()
    assert (fresh.params, fresh.priority) == ({"text": "again"}, 12)
    changed = {"params.text": ["hello", "again"], "params.copies": [2, None], "priority": [5, 12]}
    for event_type in ("respawned", "copied"):
        event = TaskEvent.objects.get(event_type=event_type)
        assert (event.detail["changed"], event.reason) == (changed, "typing error")
    page = client.get(reverse("admin:tasks_app_task_change", args=[fresh.task_id])).content.decode()
    assert "<del>hello</del>" in page


def test_params_that_the_model_does_not_know_are_edited_as_json():
    old = spawn_note()
    Task.objects.update(params={"text": "hello", "colour": "red"})
    client, address = log_in("Operator"), reverse("admin:tasks_app_task_respawn", args=[old.task_id])
    text = client.get(address).content.decode()
    assert '<textarea name="params"' in text and "colour" in text
    text = look(client, address, params='{"text": "a", "copies": 99}', priority="5")
    assert "copies: " in faults(text)["params"]
