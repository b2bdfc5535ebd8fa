"""What lists can be narrowed by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import django_filters  # type: ignore[import-untyped]
from django import forms
from django.db.models import Q
from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from tasks_app.api.errors import BadQuery
from tasks_app.api.pagination import LIMIT_DEFAULT, LIMIT_MOST, refuse_unknown
from tasks_app.models import ArchivedTask, Limit, Run, Schedule, Task, TaskEvent, TaskStatus, Worker
from tasks_app.models.task import FINISHED, FailureClass
from tasks_app.postgresql.clock import DatabaseNow

PAGE_PARAMETERS = ("limit", "cursor")


class StatusField(forms.MultipleChoiceField):
    """Several statuses, repeated or separated by commas."""

    def to_python(self, value: Any) -> list[str]:
        given = [value] if isinstance(value, str) else list(value or [])
        return [part.strip() for item in given for part in str(item).split(",") if part.strip()]


class StatusFilter(django_filters.MultipleChoiceFilter):
    """Tasks in any of the statuses."""

    field_class = StatusField


class TaskFilter(django_filters.FilterSet):
    """Every condition must hold."""

    status = StatusFilter(choices=TaskStatus.choices, help_text="Stored statuses, repeated or separated by commas.")
    queue_name = django_filters.CharFilter(field_name="queue_id")
    task_name = django_filters.CharFilter()
    run_id = django_filters.UUIDFilter(field_name="run__run_id")
    stage = django_filters.CharFilter()
    worker_id = django_filters.CharFilter(method="by_label", help_text="The label of the last worker that claimed it.")
    created_by = django_filters.CharFilter(help_text="Such as key:ingest or user:alice.")
    concurrency_key = django_filters.CharFilter()
    failure_class = django_filters.ChoiceFilter(choices=FailureClass.choices)
    stalled = django_filters.BooleanFilter(method="by_lease", help_text="Whether its claim has outlived its lease.")
    quarantined = django_filters.BooleanFilter(field_name="quarantined_at", lookup_expr="isnull", exclude=True)
    priority_min = django_filters.NumberFilter(field_name="priority", lookup_expr="gte")
    priority_max = django_filters.NumberFilter(field_name="priority", lookup_expr="lte")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    claimed_after = django_filters.IsoDateTimeFilter(field_name="claimed_at", lookup_expr="gte")
    claimed_before = django_filters.IsoDateTimeFilter(field_name="claimed_at", lookup_expr="lt")
    completed_after = django_filters.IsoDateTimeFilter(field_name="completed_at", lookup_expr="gte")
    completed_before = django_filters.IsoDateTimeFilter(field_name="completed_at", lookup_expr="lt")

    class Meta:
        model = Task
        fields: list[str] = []

    def by_label(self, rows: Any, name: str, value: str) -> Any:
        """Return the tasks of all workers that were started under the label."""
        # Looked up first: joined, the label would be compared for every task.
        return rows.filter(worker__in=list(Worker.objects.filter(label=value).values_list("pk", flat=True)))

    def by_lease(self, rows: Any, name: str, value: bool) -> Any:
        """Return the claims that have outlived their lease, or all others."""
        stalled = Q(status=TaskStatus.CLAIMED, lease_until__lt=DatabaseNow())
        return rows.filter(stalled) if value else rows.exclude(stalled)


class ArchivedTaskFilter(django_filters.FilterSet):
    """Every condition must hold."""

    status = StatusFilter(choices=[(status, status) for status in sorted(FINISHED)])
    queue_name = django_filters.CharFilter()
    task_name = django_filters.CharFilter()
    run_id = django_filters.UUIDFilter()
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    completed_after = django_filters.IsoDateTimeFilter(field_name="completed_at", lookup_expr="gte")
    completed_before = django_filters.IsoDateTimeFilter(field_name="completed_at", lookup_expr="lt")

    class Meta:
        model = ArchivedTask
        fields: list[str] = []


class EventFilter(django_filters.FilterSet):
    """Every condition must hold."""

    event_type = django_filters.CharFilter()
    actor = django_filters.CharFilter()

    class Meta:
        model = TaskEvent
        fields: list[str] = []


class RunFilter(django_filters.FilterSet):
    """Every condition must hold."""

    workflow = django_filters.CharFilter()
    created_by = django_filters.CharFilter(help_text="Such as key:ingest or user:alice.")
    label = django_filters.CharFilter(lookup_expr="startswith")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Run
        fields: list[str] = []


class LimitFilter(django_filters.FilterSet):
    """Every condition must hold."""

    scope = django_filters.ChoiceFilter(choices=Limit.Scope.choices)
    name = django_filters.CharFilter(lookup_expr="startswith", help_text="The beginning of the name.")
    explicit = django_filters.BooleanFilter(help_text="Whether somebody set it.")

    class Meta:
        model = Limit
        fields: list[str] = []


class ScheduleFilter(django_filters.FilterSet):
    """Every condition must hold."""

    task_name = django_filters.CharFilter()
    queue_name = django_filters.CharFilter()
    enabled = django_filters.BooleanFilter()

    class Meta:
        model = Schedule
        fields: list[str] = []


class WorkerFilter(django_filters.FilterSet):
    """Every condition must hold."""

    worker_id = django_filters.CharFilter(field_name="label", help_text="The label that it was started with.")
    host = django_filters.CharFilter()
    queue_name = django_filters.CharFilter(method="serving", help_text="Workers that serve the queue.")
    up = django_filters.BooleanFilter(
        field_name="stopped_at", lookup_expr="isnull", help_text="Whether it has not said that it stopped."
    )

    class Meta:
        model = Worker
        fields: list[str] = []

    def serving(self, rows: Any, name: str, value: str) -> Any:
        """Return the workers that serve the queue."""
        return rows.filter(queues__contains=[value])


def narrowed(
    shape: type[django_filters.FilterSet], rows: Any, request: Request, *, beside: Collection[str] = PAGE_PARAMETERS
) -> Any:
    """Return the rows that the query selects. Raises BadQuery, also for names that neither it nor `beside` knows."""
    query = request.query_params
    refuse_unknown(query, {*beside, *shape.base_filters})
    _refuse_vague(shape, query)
    found = shape(query, queryset=rows)
    found.filters = {name: each for name, each in found.filters.items() if name in query}  # a form of all costs more
    if not found.is_valid():
        faults = [(str(name), str(text)) for name, texts in found.errors.items() for text in texts]
        raise BadQuery([{"path": name, "message": text} for name, text in faults])
    return found.qs


BOOLEANS = frozenset({"true", "false", "1", "0"})


def _refuse_vague(shape: type[django_filters.FilterSet], query: QueryDict) -> None:
    """Refuse what a filter would pass over in silence, as if it had not been asked for at all. Raises BadQuery."""
    problems = []
    for name in query.keys() & shape.base_filters.keys():
        kind, values = shape.base_filters[name], query.getlist(name)
        if isinstance(kind, django_filters.MultipleChoiceFilter):
            continue
        if len(values) > 1:
            problems.append({"path": name, "message": "write it once"})
        elif isinstance(kind, django_filters.BooleanFilter) and values[0].lower() not in BOOLEANS:
            problems.append({"path": name, "message": "write true or false"})
        elif not values[0] and not isinstance(kind, django_filters.CharFilter):
            problems.append({"path": name, "message": "write a value, or leave it out"})
    if problems:
        raise BadQuery(problems)


def parameters(
    shape: type[django_filters.FilterSet], *others: OpenApiParameter, paged: bool = True
) -> list[OpenApiParameter]:
    """Return how the schema describes the query of a list."""
    filters = [
        OpenApiParameter(name, _type_of(each), description=str(each.extra.get("help_text", "")), **_choices_of(each))
        for name, each in shape.base_filters.items()
    ]
    paging = [
        OpenApiParameter("limit", int, description=f"1 to {LIMIT_MOST}, default {LIMIT_DEFAULT}"),
        OpenApiParameter("cursor", str, description="Taken from `next`"),
    ]
    return [*(paging if paged else ()), *others, *filters]


def _choices_of(each: django_filters.Filter) -> dict[str, Any]:
    """Return how the schema tells what may be chosen; of what is separated by commas it cannot."""
    if not isinstance(each, django_filters.ChoiceFilter) or isinstance(each, StatusFilter):
        return {}
    values = [str(value) for value, _ in each.extra["choices"]]
    return {"enum": values, "many": isinstance(each, django_filters.MultipleChoiceFilter)}


def _type_of(each: django_filters.Filter) -> Any:
    types = {
        django_filters.BooleanFilter: OpenApiTypes.BOOL,
        django_filters.IsoDateTimeFilter: OpenApiTypes.DATETIME,
        django_filters.NumberFilter: OpenApiTypes.NUMBER,
        django_filters.UUIDFilter: OpenApiTypes.UUID,
    }
    return types.get(type(each), OpenApiTypes.STR)
