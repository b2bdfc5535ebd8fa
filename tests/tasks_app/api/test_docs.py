"""The descriptions of the API's operations."""

from __future__ import annotations

from drf_spectacular.generators import SchemaGenerator


def test_no_operation_is_described_as_another_is():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    described: dict[str, list[str]] = {}
    for path in schema["paths"].values():
        for operation in path.values():
            described.setdefault(operation["description"], []).append(operation["operationId"])
    assert [names for names in described.values() if len(names) > 1] == [["attempt_log", "task_log"]]
    assert "nothing is claimed" not in schema["paths"]["/api/absurd/freeze"]["get"]["description"]


def test_every_operation_has_a_summary_of_its_own_and_tasks_come_first():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operations = [each for path in schema["paths"].values() for each in path.values() if "operationId" in each]
    summaries = [each.get("summary") for each in operations]
    assert all(summaries)
    assert len(set(summaries)) == len(summaries)
    tags = [tag["name"] for tag in schema["tags"]]
    assert tags[0] == "tasks"
    assert {tag for each in operations for tag in each["tags"]} == set(tags)
