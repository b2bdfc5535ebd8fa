"""Which tasks an operation is done to: the conditions of the list of tasks, wherever they are written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import django_filters  # type: ignore[import-untyped]
from django import forms
from django.db.models import Q
from django.http import QueryDict

from tasks_app.errors import ParamsInvalid
from tasks_app.models import Task, TaskStatus, Worker
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.models.task import FailureClass
from tasks_app.postgresql.clock import DatabaseNow

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def unknown_parameters(query: Iterable[str], known: Iterable[str]) -> list[dict[str, str]]:
    """Return the fault of each parameter that is not one of the known ones."""
    message = f"unknown parameter; expected one of {', '.join(sorted(known)) or 'none'}"
    return [{"path": name, "message": message} for name in sorted(set(query) - set(known))]


class StrictFilterSet(django_filters.FilterSet):
    """Conditions that must all hold. A repeated or empty value is refused: it would silently not be a condition."""

    def problems(self, query: QueryDict, *, beside: Collection[str] = ()) -> list[dict[str, str]]:
        """Return the path and fault of each bad parameter; those in `beside` are none of this filter set's."""
        found = unknown_parameters(query, {*beside, *self.base_filters})
        for name in sorted(query.keys() & self.base_filters.keys()):
            given = self.base_filters[name], query.getlist(name)
            if isinstance(given[0], django_filters.MultipleChoiceFilter):
                continue
            if len(given[1]) != 1:
                found.append({"path": name, "message": f"must be given once (got {len(given[1])} values)"})
            elif not given[1][0]:
                found.append({"path": name, "message": "must not be empty; leave it out"})
        # A form of all conditions costs more.
        self.filters: dict[str, Any] = {name: each for name, each in self.filters.items() if name in query}
        if not found and not self.is_valid():
            found = [{"path": str(name), "message": str(text)} for name in self.errors for text in self.errors[name]]
        return found


class StatusField(forms.MultipleChoiceField):
    """Several statuses, repeated or separated by commas."""

    def to_python(self, value: Any) -> list[str]:
        given = [value] if isinstance(value, str) else list(value or [])
        found = [part.strip() for item in given for part in str(item).split(",") if part.strip()]
        if given and not found:
            raise forms.ValidationError("must not be empty; leave it out")
        return found


class StatusFilter(django_filters.MultipleChoiceFilter):
    """Tasks in any of the statuses."""

    field_class = StatusField


class TrueOrFalseField(forms.Field):
    """A boolean; Django's own takes what it does not understand for no condition."""

    def to_python(self, value: Any) -> bool | None:
        if not value:
            return None
        if str(value).lower() not in BOOLEANS:
            raise forms.ValidationError(f"must be true or false (got {str(value)[:100]!r})")
        return BOOLEANS[str(value).lower()]


class WholeNumberFilter(django_filters.NumberFilter):
    """A whole number."""

    field_class = forms.IntegerField


class BooleanFilter(django_filters.BooleanFilter):
    """Whether something is so."""

    field_class = TrueOrFalseField


def between(field: str, kind: Any = django_filters.IsoDateTimeFilter, upper: str = "lt") -> tuple[Any, Any]:
    """Return two conditions on a field: that it is not below a value, and that it is below one."""
    return kind(field_name=field, lookup_expr="gte"), kind(field_name=field, lookup_expr=upper)


class TaskFilter(StrictFilterSet):
    """Conditions on tasks."""

    status = StatusFilter(choices=TaskStatus.choices, help_text="Stored statuses, repeated or separated by commas.")
    queue_name = django_filters.CharFilter(field_name="queue_id")
    task_name = django_filters.CharFilter()
    run_id = django_filters.UUIDFilter(field_name="run__run_id")
    stage = django_filters.CharFilter()
    worker_id = django_filters.CharFilter(method="by_label", help_text="The label of the last worker that claimed it.")
    created_by = django_filters.CharFilter(help_text="Such as key:ingest or user:alice.")
    concurrency_key = django_filters.CharFilter()
    failure_class = django_filters.ChoiceFilter(choices=FailureClass.choices)
    stalled = BooleanFilter(method="by_lease", help_text="Whether the lease of its claim has expired.")
    quarantined = BooleanFilter(field_name="quarantined_at", lookup_expr="isnull", exclude=True)
    priority_min, priority_max = between("priority", WholeNumberFilter, "lte")
    created_after, created_before = between("created_at")
    claimed_after, claimed_before = between("claimed_at")
    completed_after, completed_before = between("completed_at")

    def by_label(self, rows: Any, name: str, value: str) -> Any:
        """Return the tasks of all workers that were started under the label."""
        # Looked up first: joined, the label would be compared for every task.
        return rows.filter(worker__in=list(Worker.objects.filter(label=value).values_list("pk", flat=True)))

    def by_lease(self, rows: Any, name: str, value: bool) -> Any:
        """Return the claims that have outlived their lease, or all others."""
        stalled = Q(status=TaskStatus.CLAIMED, lease_until__lt=DatabaseNow())
        return rows.filter(stalled) if value else rows.exclude(stalled)


def tasks_where(query: QueryDict) -> TaskQuerySet:
    """Return the tasks that fulfil every condition. Raises ParamsInvalid, naming each that is unknown or wrong."""
    found = TaskFilter(query, queryset=Task.objects.all())
    if problems := found.problems(query):
        raise ParamsInvalid(problems)
    tasks: TaskQuerySet = found.qs
    return tasks


def tasks_matching(conditions: Mapping[str, Any]) -> TaskQuerySet:
    """Return the tasks that match the conditions of a body. Raises ParamsInvalid with the path of each bad one."""
    query = QueryDict(mutable=True)
    for name, value in conditions.items():
        query.setlist(name, [str(each) for each in (value if isinstance(value, list) else [value])])
    try:
        return tasks_where(query)
    except ParamsInvalid as fault:
        raise ParamsInvalid([{**each, "path": f"filter.{each['path']}"} for each in fault.problems]) from None
