"""What can be spawned, and runs spawned over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.models import Run, Task, TaskDependency, TaskEvent
from tasks_app.operations.runs import start
from tasks_app.workflows import registry
from tasks_app.workflows.plan import RunPlan
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import REPORT, NoteParams, spawn_note

pytestmark = pytest.mark.django_db

MOSAIC = {
    "workflow": "mosaic",
    "label": "2025-11-18",
    "params": {"night": 7},
    "stages": [
        {"name": "image", "task_name": "note", "fan_out": [{"text": "a"}, {"text": "b"}, {"text": "c"}], "priority": 9},
        {
            "name": "mosaic",
            "task_name": "gather",
            "bindings": {"titles": {"stage": "image", "field": "title", "all": True}},
            "join": {"quorum": 2, "deadline_sec": 600},
            "timeout_sec": 60,
        },
        {"name": "report", "task_name": "note", "params": {"text": "done"}, "after": ["mosaic"]},
    ],
}


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "spawn"))


@pytest.fixture
def single() -> Iterator[registry.WorkflowSpec]:
    def begin(params: NoteParams, actor: str) -> Run:
        plan = RunPlan("single", label=params.text).stage("only", "note", params=params.model_dump())
        return start(plan, actor)

    spec = registry.WorkflowSpec(name="single", params_model=NoteParams, start=begin, description="One note")
    registry.register(spec)
    yield spec
    registry.forget("single")


def test_task_names_are_listed_and_each_tells_what_its_params_must_be(api):
    listed = {each["task_name"]: each for each in api.get("task-names").body["task_names"]}
    assert {"note", "gather", "imaging"} <= listed.keys()
    assert (listed["imaging"]["timeout_sec"], listed["imaging"]["isolation"]) == (1800, "process")
    assert "params_schema" not in listed["imaging"]
    schema = api.get("task-names/note").body["params_schema"]
    assert schema["required"] == ["text"]
    assert schema["properties"]["copies"]["maximum"] == 9


def test_an_unknown_task_name_is_not_found_and_near_ones_are_named(api):
    response = api.get("task-names/notes")
    assert response.status_code == 404
    assert "did you mean note" in response.body["detail"]


def test_a_run_of_ones_own_stages_is_spawned_whole(api):
    response = api.post("runs", MOSAIC)
    assert (response.status_code, response.body["workflow"], response.body["total"]) == (201, "mosaic", 5)
    run = Run.objects.get()
    assert (run.params, run.label, run.created_by) == ({"night": 7}, "2025-11-18", "key:ingest")
    assert response.headers["Location"] == f"/api/absurd/runs/{run.run_id}"
    tasks = {task.stage: task for task in Task.objects.all()}
    mosaic = tasks["mosaic"]
    assert (mosaic.join_quorum, mosaic.timeout_sec, tasks["image"].priority) == (2, 60, 9)
    assert TaskDependency.objects.filter(child_task_id=mosaic.task_id).count() == 3
    assert TaskEvent.objects.get(event_type="run_started").actor == "key:ingest"


def test_the_graph_shows_tasks_and_edges_alone(api):
    run_id = api.post("runs", MOSAIC).body["run_id"]
    graph = api.get(f"runs/{run_id}/graph").body
    assert set(graph) == {"nodes", "outside", "edges", "blocked", "truncated"}
    stage = {node["task_id"]: node["stage"] for node in graph["nodes"]}
    edges = sorted((stage[edge["parent"]], stage[edge["child"]]) for edge in graph["edges"])
    assert edges == [("image", "mosaic")] * 3 + [("mosaic", "report")]


def test_a_stage_may_take_a_param_from_a_task_of_another_run(api, worker):
    other = spawn_note()
    bindings = {"text": {"task_id": str(other.task_id), "field": "title"}}
    api.post("runs", {"workflow": "again", "stages": [{"name": "a", "task_name": "note", "bindings": bindings}]})
    (claim,) = claim_tasks(worker, limit=2)
    complete_task(claim, {"title": "from there"}, REPORT)
    (claim,) = claim_tasks(worker, limit=1)
    assert claim.params == {"text": "from there"}


@pytest.mark.parametrize(
    ("stages", "path"),
    [
        ([], "stages"),
        ([{"name": "a", "task_name": "note"}], "stages.a.params.text"),
        ([{"name": "a", "task_name": "note", "params": {"text": "x"}, "after": ["b"]}], "stages.a.after"),
        ([{"name": "a", "task_name": "note", "params": {"text": "x"}, "aftre": []}], "stages.0.aftre"),
        ([{"name": "a", "task_name": "note", "bindings": {"text": {"field": "x"}}}], "stages.0.bindings.text"),
        ([{"task_name": "note", "params": {"text": "x"}}], "stages.0.name"),
        ([{"name": "a", "task_name": "note", "params": {"text": "x"}, "priority": 0}], "stages.0.priority"),
    ],
    ids=["none", "params", "after", "unknown-field", "binding", "no-name", "priority"],
)
def test_what_is_wrong_with_a_run_is_named_by_its_path_and_spawns_nothing(api, stages, path):
    response = api.post("runs", {"workflow": "mine", "stages": stages})
    assert response.status_code == 422
    assert path in [fault["path"] for fault in response.body["errors"]]
    assert not Run.objects.exists()
    assert not Task.objects.exists()


def test_a_registered_workflow_is_listed_and_begun_by_its_params(api, single):
    listed = {each["name"]: each for each in api.get("workflows").body["workflows"]}
    assert (listed["single"]["description"], listed["single"]["params_schema"]["required"]) == ("One note", ["text"])
    assert "observation_id" in listed["standard-pipeline"]["params_schema"]["properties"]
    begun = api.post("runs", {"workflow": "single", "params": {"text": "hello"}})
    assert (begun.status_code, begun.body["label"], begun.body["total"]) == (201, "hello", 1)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"workflow": "singel", "params": {"text": "a"}}, "workflow"),
        ({"workflow": "single", "params": {"copies": 0}}, "params.copies"),
        ({"workflow": "single", "params": {"text": "a"}, "label": "b"}, "label"),
        ({"params": {}}, "workflow"),
    ],
    ids=["unknown", "params", "label", "no-workflow"],
)
def test_a_workflow_that_cannot_be_begun_is_refused(api, single, body, path):
    response = api.post("runs", body)
    assert response.status_code == 422
    assert path in [fault["path"] for fault in response.body["errors"]]
    assert not Run.objects.exists()


def test_the_same_idempotency_key_begins_one_run(api, single):
    key = {"Idempotency-Key": "night-7"}
    first, again = api.post("runs", MOSAIC, **key), api.post("runs", {**MOSAIC}, **key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.body["run_id"] == again.body["run_id"]
    assert first.headers["Location"] == again.headers["Location"]
    changed = api.post("runs", {**MOSAIC, "label": "2025-11-19"}, **key)
    assert (changed.status_code, changed.body["code"]) == (409, "idempotency_conflict")
    task = api.post("tasks", {"task_name": "note", "params": {"text": "a"}}, **key)
    assert (task.status_code, task.body["code"]) == (409, "idempotency_conflict")
    other = Caller(make_key("spawn", name="other")).post("runs", MOSAIC, **key)
    assert (other.status_code, Run.objects.count()) == (201, 2)
    begun = api.post("runs", {"workflow": "single", "params": {"text": "b"}}, **{"Idempotency-Key": "b"})
    same = {"workflow": "single", "label": "", "params": {"text": "b"}}
    assert api.post("runs", same, **{"Idempotency-Key": "b"}).body["run_id"] == begun.body["run_id"]


def test_an_idempotency_key_of_a_run_that_was_refused_is_not_used_up(api):
    key, stage = {"Idempotency-Key": "night-8"}, {"name": "a", "task_name": "note", "params": {}}
    assert api.post("runs", {"workflow": "mine", "stages": [stage]}, **key).status_code == 422
    right = {"workflow": "mine", "stages": [{**stage, "params": {"text": "a"}}]}
    assert api.post("runs", right, **key).status_code == 201
    long = api.post("runs", right, **{"Idempotency-Key": "k" * 201})
    assert (long.status_code, long.body["errors"][0]["path"]) == (422, "idempotency_key")


def test_runs_are_spawned_by_keys_that_may_spawn():
    assert Caller(make_key("read", "operate")).post("runs", MOSAIC).status_code == 403
