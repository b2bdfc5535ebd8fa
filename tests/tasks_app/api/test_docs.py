"""The page on the API names every route and every condition of a list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from drf_spectacular.generators import SchemaGenerator

from tasks_app.api import filters, urls
from tasks_app.operations.selection import TaskFilter
from tests.daphne_server import CHECKOUT

TEXT = (CHECKOUT / "docs" / "api.md").read_text()


def routes_told(text: str) -> set[str]:
    """Every path in a table; a bare last word stands beside the path before it."""
    output: set[str] = set()
    for line in text.splitlines():
        whole = ""
        for quoted in re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("|") else ():
            path = quoted.split(" ")[-1]
            output |= {path, f"{whole.rpartition('/')[0]}/{path}"}
            whole = path if "/" in path else whole
    return output


@pytest.mark.parametrize("route", sorted(urls.VIEWS))
def test_every_route_is_in_the_table(route):
    assert re.sub(r"<\w+:(\w+)>", r"{\1}", route) in routes_told(TEXT)


@pytest.mark.parametrize(
    "shape",
    [TaskFilter, filters.ArchivedTaskFilter, filters.RunFilter, filters.WorkerFilter, filters.ScheduleFilter],
    ids=lambda shape: shape.__name__,
)
def test_every_condition_is_told(shape):
    words = set(re.findall(r"\w+", TEXT))
    for name in shape.base_filters:
        assert name in words or {f"{name.rpartition('_')[0]}_", f"_{name.rpartition('_')[2]}"} & words, name
    assert Path(CHECKOUT / "docs" / "operating.md").read_text().count("api.md")


def test_every_operation_has_a_summary_of_its_own_and_tasks_come_first():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operations = [each for path in schema["paths"].values() for each in path.values() if "operationId" in each]
    summaries = [each.get("summary") for each in operations]
    assert all(summaries)
    assert len(set(summaries)) == len(summaries)
    tags = [tag["name"] for tag in schema["tags"]]
    assert tags[0] == "tasks"
    assert {tag for each in operations for tag in each["tags"]} == set(tags)
