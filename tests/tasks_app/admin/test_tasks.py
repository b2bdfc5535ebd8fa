from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.admin import panels
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import report_progress, start_attempt
from tasks_app.models import Hold, Run, Task, TaskEvent
from tasks_app.operations.tasks import cancel
from tasks_app.postgresql import clock
from tests.tasks_app.callers import make_user, queries_of_health
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db

LIST = "/admin/tasks_app/task/"


def log_in(group: str) -> Client:
    client = Client()
    client.force_login(make_user(group.lower(), group))
    return client


@pytest.fixture
def operator(db: None) -> Client:
    return log_in("Operator")


@pytest.fixture
def viewer(db: None) -> Client:
    return log_in("Viewer")


def choose(action: str, *tasks: Task, **fields: str) -> dict[str, object]:
    return {"action": action, "_selected_action": [task.pk for task in tasks], "index": "0", **fields}


def confirm(action: str, *tasks: Task, **fields: str) -> dict[str, object]:
    return choose(action, *tasks, confirmed="yes", expected=str(len(tasks)), **fields)


def output(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_the_list_shows_what_an_operator_looks_for(operator, worker):
    spawn_note(priority=18, params={"text": "/stage/night/urgent.ms"})
    fail_attempt(claim_one(worker), "invalid", "no such file\nTraceback", REPORT)
    page = operator.get(LIST).content.decode()
    for part in ("pill-failed", "urgent.ms", "band-critical", "1 / 4", "worker-1", "invalid: no such file"):
        assert part in page
    assert "Traceback" not in page
    assert "/stage/night" not in page


def test_the_list_asks_a_fixed_number_of_queries(operator, worker, django_assert_max_num_queries):
    for _ in range(30):
        spawn_note()
    claim_tasks(worker, limit=30)
    with django_assert_max_num_queries(15 + queries_of_health()):
        assert operator.get(LIST).content.count(b"data-task=") == 30


def test_a_task_is_found_by_its_id_by_the_end_of_it_or_by_its_name(operator):
    wanted, other = spawn_note(), spawn_note()
    for query in (str(wanted.task_id), str(wanted.task_id)[-8:], str(wanted.task_id)[:23]):
        page = operator.get(LIST, {"q": query}).content.decode()
        assert str(wanted.task_id) in page
        assert str(other.task_id) not in page
    assert str(other.task_id) in operator.get(LIST, {"q": "not"}).content.decode()
    assert "data-task=" not in operator.get(LIST, {"q": "imaging"}).content.decode()


@pytest.mark.parametrize(
    ("query", "count"), [("status=pending", 2), ("status=failed", 0), ("band=critical", 1), ("queue=other", 1),
                         ("task_name=note", 2), ("since=1h", 2)],
)  # fmt: skip
def test_the_filters_narrow_the_list(operator, query, count):
    spawn_note(priority=15)
    spawn_note(queue_name="other")
    assert operator.get(f"{LIST}?{query}").content.count(b"data-task=") == count


def test_a_run_leads_to_its_tasks(operator):
    run = Run.objects.create(workflow="standard-pipeline", label="tile")
    spawn_note(run=run, stage="first")
    spawn_note()
    assert operator.get(f"{LIST}?run__id__exact={run.pk}").content.count(b"data-task=") == 1
    page = operator.get(reverse("admin:tasks_app_run_change", args=[run.pk])).content.decode()
    assert "first" in page


def test_a_task_that_ended_without_an_attempt_waits_for_none(operator):
    task = spawn_note()
    address = reverse("admin:tasks_app_task_change", args=[task.task_id])
    assert "No attempt yet" in operator.get(address).content.decode()
    cancel.act(task.task_id, cancel.params_model(reason="wrong field"), "user:olga")
    page = operator.get(address).content.decode()
    assert "None was made" in page and "No attempt yet" not in page


def test_the_page_of_a_task_tells_its_story(operator, worker):
    task = spawn_note()
    claim = claim_one(worker)
    start_attempt(claim, directory="/data/a", log_path="/data/a/log")
    report = AttemptReport(traceback="Trace <b>", log_tail="SEVERE no solutions", signal="SIGKILL", exit_code=9)
    fail_attempt(claim, "killed", "killed by SIGKILL", report)
    page = operator.get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
    outcomes = re.search(r"attempts</th><td>(.*?)</td>", page)
    assert outcomes and re.sub("<[^>]*>", "", outcomes[1]).split() == ["1", "•", "killed"]  # and not "1: 1 killed"
    for part in (
        str(task.task_id),
        "/data/a/log",
        f'data-log="/api/absurd/tasks/{task.task_id}"',
        "Trace &lt;b&gt;",
        "SIGKILL",
        "retrying",
    ):
        assert part in page
    assert re.findall(r'<form[^>]*method="(\w+)"', page) == ["post"]  # to log out; nothing else changes anything


def test_applications_bring_panels_of_their_own(operator, monkeypatch):
    monkeypatch.setattr(panels, "_panels", [])
    task = spawn_note()
    make = lambda found: panels.Table(headings=("kind",), rows=[(f"image of {found.task_name}",)])  # noqa: E731
    panels.add(panels.Panel(title="Products", table=make))
    panels.add(panels.Panel(title="Nothing", table=lambda _: panels.Table(headings=(), rows=[])))
    page = operator.get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
    assert "Products" in page
    assert "image of note" in page
    assert "Nothing" not in page


def test_an_action_first_asks_and_says_how_many(operator):
    tasks = [spawn_note(), spawn_note()]
    page = operator.post(LIST, choose("cancel_tasks", *tasks)).content.decode()
    assert "Cancel 2 tasks?" in page
    assert all(str(task.task_id)[-8:] in page for task in tasks)
    assert set(Task.objects.values_list("status", flat=True)) == {"pending"}


def test_a_confirmed_action_needs_a_reason(operator):
    task = spawn_note()
    page = operator.post(LIST, confirm("cancel_tasks", task, reason="")).content.decode()
    assert "This field is required" in page
    assert event_types(task) == ["spawned"]


def test_cancel_acts_on_each_and_tells_how_it_went(operator, worker):
    done = spawn_note(priority=20)
    complete_task(claim_one(worker), {}, REPORT)
    running = spawn_note(priority=20)
    claim_one(worker)
    waiting = spawn_note()
    response = operator.post(LIST, confirm("cancel_tasks", done, running, waiting, reason="wrong field"), follow=True)
    (message,) = output(response)
    assert sorted(message.split(", ")) == ["1 asked to stop", "1 cancelled", "1 refused: it is completed"]
    event = TaskEvent.objects.get(event_type="cancelled")
    assert (event.actor, event.reason) == ("user:operator", "wrong field")
    entries = {int(entry.object_id): entry.change_message for entry in LogEntry.objects.all()}
    assert set(entries) == {running.pk, waiting.pk}
    assert "wrong field" in entries[waiting.pk]


def test_retry_and_reprioritise_work_from_the_list(operator, worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    operator.post(LIST, confirm("retry_tasks", task, reason="file is back"))
    operator.post(LIST, confirm("reprioritize_tasks", task, reason="transit", priority="18"))
    task.refresh_from_db()
    assert (task.status, task.priority) == ("pending", 18)
    assert event_types(task)[-2:] == ["retried", "reprioritized"]


def test_a_priority_out_of_range_is_refused(operator):
    task = spawn_note()
    operator.post(LIST, confirm("reprioritize_tasks", task, reason="transit", priority="21"))
    task.refresh_from_db()
    assert task.priority == 5


def test_a_button_asks_by_get_and_acts_by_post(operator):
    task = spawn_note()
    address = reverse("admin:tasks_app_task_cancel", args=[task.task_id])
    assert "Cancel 1 task?" in operator.get(address).content.decode()
    assert event_types(task) == ["spawned"]
    response = operator.post(address, {"confirmed": "yes", "expected": "1", "reason": "wrong field"}, follow=True)
    assert output(response) == ["1 cancelled"]
    assert response.redirect_chain[0][0] == reverse("admin:tasks_app_task_change", args=[task.task_id])


def test_a_button_that_can_do_nothing_says_why(operator):
    task = spawn_note()
    page = operator.get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
    assert "Cannot retry: it is pending" in page


def test_acting_needs_the_csrf_token():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("olga", "Operator"))
    task = spawn_note()
    assert client.post(LIST, confirm("cancel_tasks", task, reason="x")).status_code == 403
    assert event_types(task) == ["spawned"]


def test_a_viewer_sees_everything_and_can_change_nothing(viewer):
    task = spawn_note()
    assert "Cancel selected" not in viewer.get(LIST).content.decode()
    page = viewer.get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
    assert "Reprioritise" not in page
    for operation in ("cancel", "retry", "reprioritize"):
        address = reverse(f"admin:tasks_app_task_{operation}", args=[task.task_id])
        fields = {"confirmed": "yes", "expected": "1", "reason": "x", "priority": "20"}
        assert viewer.get(address).status_code == 403
        assert viewer.post(address, fields).status_code == 403
        viewer.post(LIST, confirm(f"{operation}_tasks", task, reason="x", priority="20"))
    assert viewer.post(f"{LIST}add/", {}).status_code == 403
    assert viewer.post(reverse("admin:tasks_app_task_delete", args=[task.pk]), {"post": "yes"}).status_code == 403
    assert event_types(task) == ["spawned"]


def test_not_even_an_administrator_edits_a_task_by_hand():
    admin = log_in("Administrator")
    task = spawn_note()
    admin.post(reverse("admin:tasks_app_task_change", args=[task.pk]), {"priority": "20", "status": "completed"})
    task.refresh_from_db()
    assert (task.status, task.priority) == ("pending", 5)


def test_the_page_of_a_task_asks_few_queries_and_shows_progress_on_demand(operator, worker):
    task = spawn_note()
    claim = claim_one(worker)
    for step in range(5):
        report_progress(claim, fraction=step / 10, message=f"step {step}")
    address = reverse("admin:tasks_app_task_change", args=[task.task_id])
    with CaptureQueriesContext(connection) as found:
        page = operator.get(address).content.decode()
    assert len(found) <= 15 + queries_of_health()
    assert "<td>progress</td>" not in page
    assert "<td>progress</td>" in operator.get(address, {"progress": "1"}).content.decode()
    assert "curl -X POST http://testserver/api/absurd/tasks" in page


def test_tabs_count_the_states_and_filters_stand_in_the_address(operator, worker):
    spawn_note(scheduled_at=clock.now() + timedelta(days=1))
    spawn_note(queue_name="other")
    spawn_note(priority=20, max_retries=0)
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    Task.objects.filter(pk=spawn_note(queue_name="other").pk).update(hold=Hold.LIMIT)
    page = operator.get(LIST).content.decode()
    counts = {
        "scheduled": 1,
        "claimable": 1,
        "waiting": 0,
        "limited": 1,
        "retrying": 0,
        "pending": 3,
        "failed": 1,
        "stalled": 0,
    }
    for state, count in counts.items():
        assert f'href="?status={state}">{state} <span class="quiet">{count}</span>' in page, state
    narrowed = operator.get(LIST, {"queue": "other", "status": "claimable"}).content.decode()
    assert narrowed.count("data-task=") == 1
    assert 'href="?queue=other&amp;status=scheduled">scheduled <span class="quiet">0</span>' in narrowed


def test_a_row_has_the_operations_that_are_possible_for_those_who_may(operator, viewer, worker):
    spawn_note(max_retries=0)
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    task = Task.objects.get()
    page = operator.get(f"{LIST}?status=failed").content.decode()
    came_from = urlencode({"next": f"{LIST}?status=failed"})
    retry = f"{reverse('admin:tasks_app_task_retry', args=[task.task_id])}?{came_from}"
    assert retry in page
    assert f"{task.task_id}/cancel/" not in page
    assert f"{task.task_id}/retry/" not in viewer.get(LIST).content.decode()
    assert 'name="next" value="/admin/tasks_app/task/?status=failed"' in operator.get(retry).content.decode()
    answer = operator.post(
        retry.partition("?")[0],
        {"confirmed": "yes", "expected": "1", "reason": "found", "next": "/admin/tasks_app/task/?status=failed"},
    )
    assert answer["Location"] == "/admin/tasks_app/task/?status=failed"
    assert Task.objects.get().status == "pending"


def test_params_are_seen_once_with_degrees_rounded_to_their_meaning(operator):
    task = spawn_note()
    Task.objects.update(params={"ra_deg": 343.49061658, "at": [{"dec_deg": [16.148211111]}], "flux_jy": 1.23456789})
    text = operator.get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
    seen, commands = text.split("<details><summary>Commands</summary>")
    assert seen.count("343.490617") == 1 and "16.148211\n" in seen and "1.23456789" in seen
    assert "343.49061658" not in seen and "343.49061658" in commands
