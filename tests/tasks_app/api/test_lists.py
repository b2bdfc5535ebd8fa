"""What lists select, leave out and cost; details that are not sent twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.api import lists
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Task, Worker
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.finished import completed, failed
from tests.tasks_app.maintenance.test_archived_tasks import archive_all
from tests.tasks_app.notes import REPORT, claim_one, spawn_note
from tests.tasks_app.workflows.run_plans import begin, claim_all, finish, linear

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "spawn", "operate"))


def listed(api: Caller, query: str) -> list[str]:
    response = api.get(f"tasks?{query}")
    assert response.status_code == 200, response.body
    return [task["task_id"] for task in response.body["tasks"]]


def test_tasks_are_selected_by_who_made_them_key_class_and_stall(api, worker):
    plain, keyed, broken, stalled = (spawn_note(concurrency_key=key) for key in ("", "disk-a", "", ""))
    Task.objects.filter(pk=keyed.pk).update(created_by="key:ingest")
    claims = {claim.task_id: claim for claim in claim_tasks(worker, limit=4)}
    fail_attempt(claims[broken.task_id], "invalid", "no such file", REPORT)
    Task.objects.filter(pk=stalled.pk).update(lease_until=clock.now() - timedelta(seconds=1))
    assert listed(api, "concurrency_key=disk-a") == listed(api, "created_by=key:ingest") == [str(keyed.task_id)]
    assert listed(api, "failure_class=invalid") == [str(broken.task_id)]
    assert listed(api, "stalled=true") == [str(stalled.task_id)]
    assert listed(api, "stalled=false&status=claimed") == [str(keyed.task_id), str(plain.task_id)]
    assert listed(api, "quarantined=true") == []
    assert listed(api, "stalled=1") == [str(stalled.task_id)]
    assert len(listed(api, "stalled=0")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "stalled=yes",
        "stalled=",
        "status=",
        "stage=a&stage=b",
        "priority_min=1.5",
        "run_id=",
        "stage=",
        "task_name=",
        "format=json",
    ],
)
def test_a_condition_that_would_be_ignored_is_refused_by_name(api, query):
    answer = api.get(f"tasks?{query}")
    assert (answer.status_code, answer.body["code"]) == (400, "bad_query")
    assert [fault["path"] for fault in answer.body["errors"]] == [query.partition("=")[0]]


def test_tasks_are_selected_by_the_times_of_their_claims_and_ends(api, worker):
    old, new = spawn_note(), spawn_note()
    claim_tasks(worker, limit=2)
    moment = clock.now()
    Task.objects.filter(pk=old.pk).update(
        claimed_at=moment - timedelta(hours=2), created_at=moment - timedelta(hours=3)
    )
    hour_ago = clock.stamp(moment - timedelta(hours=1))
    assert listed(api, f"claimed_after={hour_ago}") == listed(api, f"created_after={hour_ago}") == [str(new.task_id)]
    assert listed(api, f"claimed_before={hour_ago}") == listed(api, f"created_before={hour_ago}") == [str(old.task_id)]
    assert listed(api, f"completed_after={hour_ago}") == []


def sent_sql(api: Caller, path: str) -> str:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert api.get(path).status_code == 200
    return next(each["sql"] for each in captured if 'FROM "tasks_app_task" LEFT' in each["sql"])


def test_lists_never_load_what_is_large_and_not_asked_for(api, worker):
    spawn_note()
    sql = sent_sql(api, "tasks")
    assert '"tasks_app_task"."params"' in sql
    for column in ("result", "bindings"):
        assert f'"tasks_app_task"."{column}"' not in sql
    assert sql.count('"tasks_app_task"."error"') == 1
    assert 'LEFT("tasks_app_task"."error", 300)' in sql
    sparse = sent_sql(api, "tasks?fields=task_id,status")
    for column in ("result", "bindings", "error", "params"):
        assert f'"tasks_app_task"."{column}"' not in sparse
    asked = sent_sql(api, "tasks?fields=task_id,result,error")
    assert '"tasks_app_task"."result"' in asked
    assert '"tasks_app_task"."params"' not in asked


def test_archived_tasks_are_listed_apart_without_what_is_large(api):
    done, broken = completed(50), failed(120)
    live = spawn_note()
    archive_all()
    assert listed(api, "") == [str(live.task_id)]
    with CaptureQueriesContext(connection) as captured:
        body = api.get("tasks?archived=true").body
    assert [task["task_id"] for task in body["tasks"]] == [str(broken.task_id), str(done.task_id)]
    assert (body["total"], body["tasks"][0]["status"], body["tasks"][0]["worker_id"]) == (2, "failed", "worker-1")
    assert body["tasks"][0]["error_summary"]
    assert "result" not in body["tasks"][1]
    assert not [each for each in captured if '"tasks_app_archivedtask"."task"' in each["sql"]]
    assert listed(api, "archived=true&status=completed&limit=1") == [str(done.task_id)]
    first = api.get("tasks?archived=true&limit=1").body
    assert [task["task_id"] for task in api.get(first["next"]).body["tasks"]] == [str(done.task_id)]


@pytest.mark.parametrize("query", ["archived=true&priority_min=3", "archived=true&fields=result", "archived=maybe"])
def test_what_the_archive_cannot_answer_is_refused(api, query):
    assert api.get(f"tasks?{query}").status_code == 400


def test_a_list_that_takes_too_long_is_given_up_with_advice(api, monkeypatch):
    spawn_note()

    def slow(view: object, rows: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    monkeypatch.setattr(lists, "QUERY_SEC", 0.1)
    monkeypatch.setattr("tasks_app.api.views.tasks.TaskListView.without_heavy", slow)
    response = api.get("tasks?stage=nowhere")
    assert (response.status_code, response.body["code"], response["Retry-After"]) == (503, "too_slow", "30")
    assert "status" in response.body["remedy"]
    assert api.get("queues").status_code == 200


def test_a_tasks_detail_is_not_sent_again_until_something_changes(api, worker):
    task = spawn_note()
    address = f"tasks/{task.task_id}"
    first = api.get(address)
    tag = first["ETag"]
    with CaptureQueriesContext(connection) as captured:
        again = api.get(address, **{"If-None-Match": tag})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    assert not [each for each in captured if '"tasks_app_task"."result"' in each["sql"]]
    claim = claim_one(worker)
    changed = api.get(address, **{"If-None-Match": tag})
    assert (changed.status_code, changed.body["status"]) == (200, "claimed")
    Task.objects.update(lease_until=clock.now() + timedelta(seconds=0.3))
    held = api.get(address)["ETag"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.4)")
    assert api.get(address, **{"If-None-Match": held}).body["display_status"] == "stalled"
    complete_task(claim, {}, REPORT)
    assert api.get(address, **{"If-None-Match": f'"x", {held}'}).status_code == 200


def test_an_archived_tasks_detail_has_a_tag_too_and_an_unknown_one_is_not_found(api):
    task = completed(50)
    before = api.get(f"tasks/{task.task_id}")["ETag"]
    archive_all()
    after = api.get(f"tasks/{task.task_id}", **{"If-None-Match": before})
    assert (after.status_code, after.body["archived"]) == (200, True)
    assert api.get(f"tasks/{task.task_id}", **{"If-None-Match": after["ETag"]}).status_code == 304
    unknown = "tasks/6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    assert api.get(unknown, **{"If-None-Match": "*"}).status_code == 404


def test_a_runs_detail_is_not_sent_again_until_a_task_of_it_changes(api, worker):
    address = f"runs/{begin(linear()).run_id}"
    tag = api.get(address)["ETag"]
    assert api.get(address, **{"If-None-Match": tag}).status_code == 304
    finish(claim_all(worker)["convert"])
    assert api.get(address, **{"If-None-Match": tag}).status_code == 200


def test_a_workers_detail_is_not_sent_again_until_it_reports_or_takes_a_task(api, worker):
    address = f"workers/{worker.pk}"
    tag = api.get(address)["ETag"]
    assert api.get(address, **{"If-None-Match": tag}).status_code == 304
    spawn_note()
    claim_one(worker)
    busy = api.get(address, **{"If-None-Match": tag})
    assert busy.status_code == 200
    Worker.objects.update(heartbeat_at=clock.now())
    assert api.get(address, **{"If-None-Match": busy["ETag"]}).status_code == 200


def test_events_are_selected_by_verb_and_actor_also_archived_ones(api, worker):
    task = completed(50)
    for _ in range(2):
        events = api.get(f"tasks/{task.task_id}/events?event_type=completed").body["events"]
        assert [event["event_type"] for event in events] == ["completed"]
        assert api.get(f"tasks/{task.task_id}/events?actor=nobody").body["events"] == []
        archive_all()
    assert api.get(f"tasks/{task.task_id}/events?vreb=completed").status_code == 400


def test_runs_are_selected_by_who_began_them(api):
    begin(linear())
    assert len(api.get("runs?created_by=user:test").body["runs"]) == 1
    assert api.get("runs?created_by=user:other").body["runs"] == []
