from __future__ import annotations

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from tests.tasks_app.callers import Caller, make_key


def test_the_schema_is_valid_complete_and_made_without_warnings():
    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS, GENERATOR_STATS._warn_cache
    validate_schema(schema)
    for path in ("health", "queues/{queue_name}/stats", "tasks", "tasks/{task_id}", "tasks/{task_id}/priority"):
        assert f"/api/absurd/{path}" in schema["paths"]
    assert not [path for path in schema["paths"] if path.endswith("/")]
    for path in schema["paths"].values():
        for operation in path.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]


def test_every_link_leads_to_an_operation_and_gives_it_what_its_path_needs():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operations = {each["operationId"]: each for path in schema["paths"].values() for each in path.values()}
    answers = {name: list(each["responses"].values()) for name, each in operations.items()}
    links = {
        (name, target): link
        for name in answers
        for answer in answers[name]
        for target, link in answer.get("links", {}).items()
    }
    for (_, target), link in links.items():
        needed = (
            {each["name"] for each in operations[target]["parameters"] if each["in"] == "path"}
            if link["parameters"]
            else set()
        )
        assert link["operationId"] == target
        assert link["parameters"].keys() == needed, target
    assert {("spawn_task", "get_task"), ("cancel_task", "retry_task"), ("bulk", "bulk")} <= links.keys()


@pytest.mark.parametrize(
    "name",
    [
        "TaskOptions",
        "RequiredReason",
        "Priority",
        "Respawn",
        "Requeue",
        "BulkCancel",
        "CancelRunRequest",
        "NewRun",
        "SaveSchedule",
        "Join",
        "RunStage",
    ],
)
def test_a_body_has_no_fields_but_those_of_the_schema(name):
    shape = SchemaGenerator().get_schema(request=None, public=True)["components"]["schemas"][name]
    assert shape["additionalProperties"] is False


@pytest.mark.django_db
def test_the_schema_is_served_to_readers_only():
    assert Caller().get("schema").status_code == 401
    response = Caller(make_key("read")).get("schema")
    assert response.status_code == 200
    assert b'"operationId": "spawn_task"' in response.content
