"""Params that a task takes from its parents' results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tasks_app.engine import archive
from tasks_app.models import Task, TaskStatus


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A param that takes its value from a field of a parent's result; the parent becomes a dependency."""

    task_id: UUID
    field: str

    @property
    def parents(self) -> tuple[UUID, ...]:
        """Whose results are needed."""
        return (self.task_id,)

    def stored(self) -> dict[str, Any]:
        """The binding as the task's row keeps it."""
        return {"task_id": str(self.task_id), "field": self.field}


@dataclass(frozen=True, kw_only=True)
class Gather:
    """A param that takes the list of a field of several parents' results, of those that have completed, in order."""

    task_ids: Sequence[UUID]
    field: str

    @property
    def parents(self) -> tuple[UUID, ...]:
        """Whose results are needed."""
        return tuple(self.task_ids)

    def stored(self) -> dict[str, Any]:
        """The binding as the task's row keeps it."""
        return {"task_ids": [str(task_id) for task_id in self.task_ids], "field": self.field}


def _parents_in(binding: Mapping[str, Any]) -> list[str]:
    return list(binding["task_ids"]) if "task_ids" in binding else [binding["task_id"]]


def results_of(bindings: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the results of all completed tasks that the bindings name, by task id."""
    wanted = {parent for of_task in bindings for binding in of_task.values() for parent in _parents_in(binding)}
    if not wanted:
        return {}
    done = Task.objects.filter(task_id__in=wanted, status=TaskStatus.COMPLETED).only("task_id", "result")
    return archive.results_of(wanted) | {str(task.task_id): task.result for task in done}


def bind(
    params: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]], results: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the params with what parents' results fill in; a missing field stays out, for the params check to find.

    A list of parents gives the list of what the completed ones among them have, in their order.
    """
    bound = dict(params)
    for name, binding in bindings.items():
        found = [results.get(parent) for parent in _parents_in(binding)]
        values = [each[binding["field"]] for each in found if isinstance(each, dict) and binding["field"] in each]
        if "task_ids" in binding:
            bound[name] = values
        elif values:
            bound[name] = values[0]
    return bound


def with_bindings(task: Task) -> dict[str, Any]:
    """Return the params that an attempt of the task would get now."""
    return bind(task.params, task.bindings, results_of([task.bindings]))
