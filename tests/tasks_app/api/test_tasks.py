from __future__ import annotations

import sys
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.models import Task, TaskEvent
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, claim_one, spawn_note

pytestmark = pytest.mark.django_db

SEED_FIELDS = {
    "task_id", "queue_name", "task_name", "params", "priority", "status", "retry_count",
    "created_at", "claimed_at", "completed_at", "timeout_sec",
}  # fmt: skip


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "spawn", "operate"))


def test_a_list_holds_the_guides_fields_and_leaves_heavy_ones_out(api):
    spawn_note()
    body = api.get("tasks").body
    assert set(body) == {"tasks", "total", "total_is_exact", "next"}
    (task,) = body["tasks"]
    assert set(task) >= SEED_FIELDS
    assert not {"result", "error", "claim_token"} & set(task)
    assert task["created_at"].endswith("Z")
    assert (body["total"], body["next"]) == (1, None)


def test_a_list_gives_results_when_they_are_asked_for(api, worker):
    spawn_note()
    complete_task(claim_one(worker), {"caltables": ["a"]}, REPORT)
    (task,) = api.get("tasks?fields=task_name,result,duration_sec").body["tasks"]
    assert set(task) == {"task_name", "result", "duration_sec"}
    assert task["result"] == {"caltables": ["a"]}
    assert task["duration_sec"] >= 0


def test_a_failed_task_is_listed_with_the_first_line_of_its_error(api, worker):
    spawn_note()
    fail_attempt(claim_one(worker), "invalid", "no such file\nTraceback", REPORT)
    (task,) = api.get("tasks?status=failed").body["tasks"]
    assert (task["error_summary"], task["failure_class"]) == ("no such file", "invalid")


def test_the_filters_narrow_the_list(api, worker):
    urgent = spawn_note(priority=20)
    spawn_note(queue_name="other")
    claim_one(worker)
    assert [t["task_id"] for t in api.get("tasks?status=claimed").body["tasks"]] == [str(urgent.task_id)]
    assert api.get("tasks?status=claimed,pending").body["total"] == 2
    assert api.get("tasks?status=claimed&status=pending").body["total"] == 2
    assert api.get("tasks?queue_name=other").body["total"] == 1
    assert api.get("tasks?task_name=nothing").body["total"] == 0
    assert api.get("tasks?worker_id=worker-1&priority_min=15").body["total"] == 1


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("cursor=-1", "cursor"),
        ("status=running", "status"),
        ("stauts=failed", "stauts"),
        ("fields=claim_token", "fields"),
        ("run_id=7", "run_id"),
    ],
)
def test_a_bad_query_is_refused_with_the_parameters_name(api, query, path):
    response = api.get(f"tasks?{query}")
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert [fault["path"] for fault in response.body["errors"]] == [path]


def test_the_pages_hold_every_task_once_while_new_ones_arrive(api):
    made = {str(spawn_note().task_id) for _ in range(5)}
    seen: list[str] = []
    address = "tasks?limit=2&queue_name=dsa110-pipeline"
    while address:
        body = api.get(address).body
        seen += [task["task_id"] for task in body["tasks"]]
        spawn_note()
        address = body["next"]
    assert len(seen) == 5
    assert set(seen) == made


def test_spawn_answers_201_with_the_task_and_where_it_is(api):
    response = api.post("tasks", {"task_name": "note", "params": {"text": "a"}, "priority": 15, "timeout_sec": 7200})
    assert response.status_code == 201
    assert (response.body["status"], response.body["priority"], response.body["timeout_sec"]) == ("pending", 15, 7200)
    assert response.body["queue_paused"] is False
    found = api.get(response.headers["Location"])
    assert found.body["task_id"] == response.body["task_id"]
    assert found.body["params"] == {"text": "a"}
    assert TaskEvent.objects.get().actor == "key:ingest"


def test_spawn_into_a_paused_queue_says_so(api):
    spawn_note()
    api.post("queues/dsa110-pipeline/pause", {"reason": "disk full"})
    body = api.post("tasks", {"task_name": "note", "params": {"text": "a"}}).body
    assert body["queue_paused"] is True


def test_the_same_idempotency_key_spawns_once(api):
    body = {"task_name": "note", "params": {"text": "a"}}
    first = api.post("tasks", body, **{"Idempotency-Key": "tile-7"})
    again = api.post("tasks", body, **{"Idempotency-Key": "tile-7"})
    other = api.post("tasks", {**body, "priority": 9}, **{"Idempotency-Key": "tile-7"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.body["task_id"] == again.body["task_id"]
    assert Task.objects.count() == 1


def test_another_caller_may_use_the_same_idempotency_key_and_spawns_a_task_of_its_own(api):
    body = {"task_name": "note", "params": {"text": "a"}}
    other = Caller(make_key("spawn", name="other"))
    answers = [caller.post("tasks", body, **{"Idempotency-Key": "tile-7"}) for caller in (api, other, other)]
    assert [answer.status_code for answer in answers] == [201, 201, 200]
    assert Task.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"task_name": "note", "params": {"txt": 1}}, ["params.text", "params.txt"]),
        ({"task_name": "note", "params": {"text": "a", "copies": 10}}, ["params.copies"]),
        ({"task_name": "note", "params": [1]}, ["params"]),
        ({"task_name": "note", "params": {"text": "a"}, "priority": 21}, ["priority"]),
        ({"task_name": "note", "params": {"text": "a"}, "timeout_sec": 10**12}, ["timeout_sec"]),
        ({"task_name": "note", "params": {"text": "a"}, "priorty": 2}, ["priorty"]),
        ({"task_name": "notes", "params": {"text": "a"}}, ["task_name"]),
        ({"task_name": "note", "params": {"text": "a"}, "queue_name": "a/b"}, ["queue_name"]),
        ({"task_name": "note", "params": {"text": "a"}, "depends_on": ["x"]}, ["depends_on.0"]),
        ({"task_name": "note", "params": {"text": "a"}, "depends_on": [str(uuid4())]}, ["depends_on"]),
        ({}, ["task_name"]),
    ],
)
def test_spawn_refuses_wrong_fields_by_their_paths(api, body, paths):
    response = api.post("tasks", body)
    assert response.status_code == 422
    assert sorted(fault["path"] for fault in response.body["errors"]) == paths
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b'{"task_name": ',
        b"[]",
        b'"text"',
        b'{"task_name": "note", "params": {"text": "a\\u0000b"}}',
        b'{"task_name": "note", "params": {"text": "\\ud800"}}',
        b'{"task_name": "note", "params": {"text": "a", "copies": 1e999}}',
        b'{"task_name": "note", "params": {"text": "a", "copies": NaN}}',
        b'{"task_name": "note", "params": {"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b"\xff\xfe",
    ],
)
def test_spawn_refuses_what_is_not_usable_json(api, body):
    response = api.post("tasks", body)
    assert response.status_code == 400
    assert response.body["code"] == "parse_error"
    assert not Task.objects.exists()


def test_a_huge_body_is_refused(api):
    body = b'{"task_name": "note", "params": {"text": "' + b"a" * 2_000_000 + b'"}}'
    assert api.post("tasks", body).status_code == 413


def test_delete_cancels_a_pending_task(api):
    task = spawn_note()
    response = api.delete(f"tasks/{task.task_id}", {"reason": "wrong file"})
    assert (response.status_code, response.body["status"]) == (200, "cancelled")
    event = TaskEvent.objects.get(event_type="cancelled")
    assert (event.actor, event.reason) == ("key:ingest", "wrong file")


def test_delete_asks_for_the_end_of_a_claimed_task(api, worker):
    task = spawn_note()
    claim_one(worker)
    response = api.delete(f"tasks/{task.task_id}")
    assert response.status_code == 202
    assert (response.body["status"], response.body["display_status"]) == ("claimed", "cancelling")
    assert api.delete(f"tasks/{task.task_id}").status_code == 202


def test_delete_of_a_finished_task_is_a_conflict_that_names_its_status(api, worker):
    task = spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    response = api.delete(f"tasks/{task.task_id}")
    assert response.status_code == 409
    assert (response.body["code"], response.body["current_status"]) == ("invalid_transition", "completed")


def test_priority_is_changed_with_the_guides_body(api):
    task = spawn_note()
    response = api.post(f"tasks/{task.task_id}/priority", {"priority": 15})
    assert (response.status_code, response.body["priority"]) == (200, 15)
    assert api.post(f"tasks/{task.task_id}/priority", {"priority": 0}).status_code == 422


def test_retry_returns_a_failed_task_and_refuses_a_pending_one(api, worker):
    task = spawn_note()
    assert api.post(f"tasks/{task.task_id}/retry").status_code == 409
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    response = api.post(f"tasks/{task.task_id}/retry", {"reason": "file is back"})
    assert (response.status_code, response.body["status"]) == (200, "pending")


def test_events_and_attempts_tell_the_tasks_story(api, worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "error", "boom", AttemptReport(traceback="Trace", exit_code=1))
    events = api.get(f"tasks/{task.task_id}/events").body["events"]
    assert [event["event_type"] for event in events] == ["spawned", "claimed", "retrying"]
    (attempt,) = api.get(f"tasks/{task.task_id}/attempts").body["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["exit_code"]) == (1, "error", 1)
    assert attempt["worker_id"] == "worker-1"
    first = api.get(f"tasks/{task.task_id}/events?limit=2").body
    rest = api.get(first["next"]).body
    assert [event["event_type"] for event in first["events"] + rest["events"]] == ["spawned", "claimed", "retrying"]


@pytest.mark.parametrize("path", [f"tasks/{UUID(int=7)}", "tasks/a1b2c3d4-...", f"tasks/{UUID(int=7)}/events"])
def test_an_unknown_task_is_not_found(api, path):
    response = api.get(path)
    assert (response.status_code, response.body["code"]) == (404, "task_not_found")


def test_the_number_of_queries_does_not_grow_with_the_list(api, worker, django_assert_num_queries):
    for _ in range(20):
        spawn_note()
    claim_tasks(worker, limit=20)
    api.get("queues")  # notes that the key was used
    with CaptureQueriesContext(connection) as captured:
        assert len(api.get("tasks?limit=2").body["tasks"]) == 2
    with django_assert_num_queries(len(captured)):
        assert len(api.get("tasks?limit=15").body["tasks"]) == 15
    assert len(captured) <= 8


def test_a_spawn_may_say_how_long_to_wait_for_whom_and_under_which_limit(api):
    first, second = (spawn_note() for _ in range(2))
    body = {
        "task_name": "note",
        "params": {"text": "a"},
        "depends_on": [str(first.task_id), str(second.task_id)],
        "join": {"quorum": 1, "deadline_sec": 60},
        "concurrency_key": "disk-a",
        "queue_timeout_sec": 30,
        "total_timeout_sec": 600,
        "idle_timeout_sec": 90,
    }
    output = api.post("tasks", body).body
    assert (output["concurrency_key"], output["join_quorum"], output["idle_timeout_sec"]) == ("disk-a", 1, 90)
    assert output["join_deadline_at"] < output["deadline_at"]
    assert api.post("tasks", body | {"join": {"quorum": 1, "quota": 2}}).status_code == 422
    assert output["expires_at"] < output["join_deadline_at"]
    refused = api.post("tasks", body | {"join": {"quorum": 3}})
    assert (refused.status_code, refused.body["errors"][0]["path"]) == (422, "join.quorum")


def test_a_django_task_that_is_not_registered_is_refused_and_its_module_is_not_imported(api):
    params = {"function": "casatasks.__main__.main"}
    answer = api.post("tasks", {"task_name": "django-task", "params": params})
    assert answer.status_code == 422
    assert "casatasks.__main__.main is not a registered Django task" in str(answer.body)
    assert "casatasks" not in sys.modules
    assert not Task.objects.exists()
