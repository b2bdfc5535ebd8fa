"""The filters of the list of tasks, for doors that have no request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict

from tasks_app.api.filters import TaskFilter
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Task
from tasks_app.models.querysets import TaskQuerySet


def tasks_where(query: QueryDict) -> TaskQuerySet:
    """Return the tasks that fulfil every condition. Raises ParamsInvalid, naming each that is unknown or wrong."""
    known = ", ".join(TaskFilter.base_filters)
    unknown = sorted(set(query) - set(TaskFilter.base_filters))
    if unknown:
        raise ParamsInvalid([{"path": name, "message": f"unknown; known are {known}"} for name in unknown])
    found = TaskFilter(query, queryset=Task.objects.all())
    if not found.is_valid():
        faults = [(str(name), str(text)) for name, texts in found.errors.items() for text in texts]
        raise ParamsInvalid([{"path": name, "message": text} for name, text in faults])
    tasks: TaskQuerySet = found.qs
    return tasks


def tasks_that_fit(conditions: Mapping[str, Any]) -> TaskQuerySet:
    """Return the tasks that fit the conditions of a body. Raises ParamsInvalid with the path of each bad one."""
    query = QueryDict(mutable=True)
    for name, value in conditions.items():
        query.setlist(name, [str(each) for each in (value if isinstance(value, list) else [value])])
    try:
        return tasks_where(query)
    except ParamsInvalid as fault:
        raise ParamsInvalid([{**each, "path": f"filter.{each['path']}"} for each in fault.problems]) from None
