from __future__ import annotations

import json
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.admin import run_page
from tasks_app.engine.claim import claim_tasks
from tasks_app.maintenance.archiving import archive_batch
from tasks_app.models import Task, TaskEvent
from tasks_app.operations.runs import RunRetryParams, retry_run
from tasks_app.operations.tasks import cancel
from tasks_app.workflows.graph import graph_of
from tests.tasks_app.callers import make_user, queries_of_health
from tests.tasks_app.finished import POLICY, days_ago
from tests.tasks_app.notes import spawn_note
from tests.tasks_app.workflows.run_plans import (
    begin,
    break_,
    claim_all,
    diamond,
    fan,
    finish,
    finish_all,
    linear,
    state,
    task_of,
)

pytestmark = pytest.mark.django_db

LIST = "/admin/tasks_app/run/"


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(make_user("operator", "Operator"))
    return client


def page_of(client: Client, run) -> str:
    return client.get(reverse("admin:tasks_app_run_change", args=[run.pk])).content.decode()


def address(operation: str, run) -> str:
    return reverse(f"admin:tasks_app_run_{operation}", args=[run.pk])


def token_in(page: str) -> str:
    """The token that the page sends back with its form."""
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def output(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_the_list_shows_how_each_run_stands(operator, worker, django_assert_max_num_queries):
    for _ in range(10):
        begin(linear())
    break_(claim_all(worker)["convert"], "invalid", "no such file")
    with django_assert_max_num_queries(25 + queries_of_health()):
        page = operator.get(LIST).content.decode()
    for part in ("pill-failed", "pill-running", "0 of 3", "convert failed (invalid): no such file"):
        assert part in page


def test_the_page_shows_what_holds_the_run_up(operator, worker):
    run = begin(diamond())
    Task.objects.filter(run=run).update(max_retries=0)
    finish(claim_all(worker)["top"])
    claims = claim_all(worker)
    finish(claims["left"])
    break_(claims["right"], "error", "no space <left>")
    page = page_of(operator, run)
    for part in ("pill-stalled", "right failed (error): no space &lt;left&gt;", "2 of 4 tasks", "1 task<",
                 "waits for 1 of 2: right (failed)"):  # fmt: skip
        assert part in page
    assert re.findall(r'<form[^>]*method="(\w+)"', page) == ["post"]  # to log out
    assert "<td>1 waiting for other tasks, 1 failed</td>" in page  # with the 2 completed they are all 4


def test_the_page_does_not_count_a_task_twice(operator, worker):
    run = begin(linear())
    assert "<td>1 in the queue, 2 waiting for other tasks</td>" in page_of(operator, run)
    cancel(claim_all(worker)["convert"].task_id, actor="user:operator", reason="trial")
    assert "<td>1 cancelling, 2 waiting for other tasks</td>" in page_of(operator, run)


def test_cancel_shows_the_counts_asks_why_and_does_it(operator, worker):
    run = begin(diamond())
    claim_all(worker)
    page = operator.get(address("cancel", run)).content.decode()
    assert "Cancel diamond?" in page
    assert "3 cancelled" in page and "1 asked to stop" in page
    assert state(run).cancelled == 0
    form = {"confirmed": "yes", "token": token_in(page)}
    assert "This field is required" in operator.post(address("cancel", run), form).content.decode()
    response = operator.post(address("cancel", run), {**form, "reason": "wrong field"}, follow=True)
    assert output(response) == ["diamond: 3 cancelled, 1 asked to stop"]
    event = TaskEvent.objects.get(event_type="run_cancelled")
    assert (event.actor, event.reason) == ("user:operator", "wrong field")
    assert "wrong field" in LogEntry.objects.get().change_message
    assert state(run).cancelled == 3


def test_more_than_was_shown_is_shown_again(operator):
    run = begin(linear())
    token = token_in(operator.get(address("cancel", run)).content.decode())
    form = {"confirmed": "yes", "token": token, "reason": "wrong field"}
    for _ in range(3):
        spawn_note(run=run, stage="late")
    assert "look again" in operator.post(address("cancel", run), form).content.decode()
    assert state(run).cancelled == 0


def test_retry_goes_on_from_the_chosen_stage(operator, worker):
    run = begin(linear())
    finish_all(worker)
    page = operator.get(address("retry", run)).content.decode()
    assert "none of its tasks has failed" in page
    assert "Retry the run" not in page
    look = operator.post(address("retry", run), {"look": "yes", "from_stage": "image"}).content.decode()
    assert "2 respawned" in look
    assert "This field is required" not in look
    form = {"confirmed": "yes", "token": token_in(look), "from_stage": "image", "reason": "better mask"}
    response = operator.post(address("retry", run), form, follow=True)
    assert output(response) == ["linear tile: 2 respawned"]
    assert state(run).superseded == 2
    assert "image~1" in page_of(operator, run)
    assert task_of(run, "image").status == "pending"


def test_retry_of_what_failed(operator, worker):
    run = begin(linear())
    break_(claim_all(worker)["convert"])
    token = token_in(operator.get(address("retry", run)).content.decode())
    form = {"confirmed": "yes", "token": token, "from_stage": "", "reason": "file is back"}
    operator.post(address("retry", run), form)
    assert finish_all(worker) == ["convert", "image", "measure"]


def test_a_button_that_can_do_nothing_says_why(operator, worker):
    run = begin(linear())
    finish_all(worker)
    assert "Cannot cancel: no unfinished tasks are left" in page_of(operator, run)


def test_a_viewer_sees_the_run_and_can_change_nothing():
    viewer = Client()
    viewer.force_login(make_user("viewer", "Viewer"))
    run = begin(linear())
    assert "Cancel…" not in page_of(viewer, run)
    for operation in ("cancel", "retry"):
        assert viewer.get(address(operation, run)).status_code == 403
        form = {"confirmed": "yes", "reason": "x"}
        assert viewer.post(address(operation, run), form).status_code == 403
    assert state(run).cancelled == 0


def layers(run) -> list[list[str]]:
    return [[stage.name for stage in layer] for layer in run_page.layers_of(graph_of(run))]


def test_the_stages_are_in_layers_behind_what_they_wait_for(operator, worker):
    run = begin(diamond())
    assert layers(run) == [["top"], ["left", "right"], ["join"]]
    finish_all(worker)
    retry_run.act(run.run_id, RunRetryParams(reason="again", from_stage="left"), "user:test")
    assert list(map(sorted, layers(run))) == [["top"], ["left", "right"], ["join"]]
    boxes = {box.name: box for layer in run_page.layers_of(graph_of(run)) for box in layer}
    assert [(boxes[name].state, len(boxes[name].nodes)) for name in ("right", "left")] == [
        ("completed", 1),
        ("pending", 1),
    ]


def test_what_failed_only_because_of_another_stage_does_not_look_like_the_cause(operator, worker):
    run = begin(linear())
    break_(claim_all(worker)["convert"], "invalid", "no such file")
    states = [box.state for layer in run_page.layers_of(graph_of(run)) for box in layer]
    assert states == ["failed", "unrunnable", "unrunnable"]


def test_many_tasks_of_a_stage_are_one_box_with_its_worst_state_and_its_reason(operator, worker):
    run = begin(fan(4))
    claims = claim_tasks(worker, limit=2)
    finish(claims[0])
    break_(claims[1], "error", "no space left")
    page = page_of(operator, run)
    for part in ("image × 4", "1 failed, 2 pending, 1 completed", "no space left"):
        assert part in page
    (box,) = run_page.layers_of(graph_of(run))[0]
    assert box.state == "failed" and box.took_sec is None


def lanes_of(client: Client, run) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page_of(client, run))[1])


def test_the_chart_has_a_lane_a_task_light_until_it_runs_in_the_archive_too(operator, worker):
    run = begin(linear())
    finish(claim_all(worker)["convert"])
    claim_all(worker)

    def bars() -> list[list[tuple[str, str]]]:
        chart = lanes_of(operator, run)
        assert chart["lanes"] == ["convert", "image", "measure"]
        return [[(bar["label"], bar["tone"]) for bar in chart["intervals"] if bar["lane"] == n] for n in range(3)]

    assert bars() == [
        [("waited", "wait"), ("completed", "ok")],
        [("waited", "wait"), ("running", "busy")],
        [("waiting: waited", "wait")],
    ]


def test_tasks_in_the_archive_keep_their_lanes(operator, worker):
    with days_ago(40):
        run = begin(linear())
        finish_all(worker)
    archive_batch(POLICY)
    assert not Task.objects.filter(run=run).exists()
    bars = lanes_of(operator, run)["intervals"]
    assert [(bar["lane"], bar["tone"]) for bar in bars] == [(n, tone) for n in range(3) for tone in ("wait", "ok")]


def test_the_page_asks_few_queries_whatever_the_size_of_the_run(operator, worker):
    run = begin(fan(60))
    finish(claim_tasks(worker, limit=1)[0])
    page_of(operator, run)
    with CaptureQueriesContext(connection) as found:
        page_of(operator, run)
    asked = [each["sql"] for each in found if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(asked) <= 15 + queries_of_health(), "\n".join(asked)


def test_retry_from_a_stage_is_previewed_at_once(operator, worker):
    run = begin(linear())
    finish_all(worker)
    assert '../retry/?from_stage=image"' in page_of(operator, run)
    page = operator.get(f"{address('retry', run)}?from_stage=image").content.decode()
    assert "2 respawned" in page and "This field is required" not in page
    form = {"confirmed": "yes", "token": token_in(page), "from_stage": "image", "reason": "better mask"}
    operator.post(address("retry", run), form)
    assert state(run).superseded == 2
    wrong = operator.get(f"{address('retry', run)}?from_stage=nothing").content.decode()
    assert "Select a valid choice" in wrong and 'name="token"' not in wrong


def test_notes_that_cannot_be_read_leave_the_page_as_it_is(operator, monkeypatch):
    def read(run):
        raise DatabaseError("canceling statement due to statement timeout")

    source = run_page.Source(name="broken", permission="tasks_app.view_run", read=read)
    monkeypatch.setitem(run_page._sources, source.name, source)
    page = page_of(operator, begin(linear()))
    assert "broken: canceling statement due to statement timeout" in page and "measure" in page
