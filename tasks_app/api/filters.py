"""What a list of tasks can be narrowed by."""

from __future__ import annotations

from typing import Any

import django_filters  # type: ignore[import-untyped]
from django import forms

from tasks_app.models import Run, Task, TaskStatus
from tasks_app.querysets import TaskQuerySet


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
    worker_id = django_filters.CharFilter(field_name="worker__label")
    priority_min = django_filters.NumberFilter(field_name="priority", lookup_expr="gte")
    priority_max = django_filters.NumberFilter(field_name="priority", lookup_expr="lte")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    completed_after = django_filters.IsoDateTimeFilter(field_name="completed_at", lookup_expr="gte")
    completed_before = django_filters.IsoDateTimeFilter(field_name="completed_at", lookup_expr="lt")

    class Meta:
        model = Task
        fields: list[str] = []


class RunFilter(django_filters.FilterSet):
    """Every condition must hold."""

    workflow = django_filters.CharFilter()
    label = django_filters.CharFilter(lookup_expr="startswith")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Run
        fields: list[str] = []


def apply_filters(tasks: TaskQuerySet, query: Any) -> tuple[TaskQuerySet, list[dict[str, str]]]:
    """Return the selected tasks and what is wrong with the query, if anything."""
    narrowed = TaskFilter(query, queryset=tasks)
    if narrowed.is_valid():
        return narrowed.qs, []
    problems = [{"path": str(name), "message": str(text)} for name, texts in narrowed.errors.items() for text in texts]
    return tasks.none(), problems
