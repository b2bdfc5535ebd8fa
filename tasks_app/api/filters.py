"""What lists can be narrowed by, in the API, in commands and in bulk operations."""

from __future__ import annotations

from typing import Any

import django_filters  # type: ignore[import-untyped]

from tasks_app.models import Limit
from tasks_app.models.task import FINISHED
from tasks_app.operations.selection import BooleanFilter, StatusFilter, StrictFilterSet, between


class ArchivedTaskFilter(StrictFilterSet):
    """Conditions on archived tasks."""

    status = StatusFilter(choices=[(status, status) for status in sorted(FINISHED)])
    queue_name = django_filters.CharFilter()
    task_name = django_filters.CharFilter()
    run_id = django_filters.UUIDFilter()
    created_after, created_before = between("created_at")
    completed_after, completed_before = between("completed_at")


class EventFilter(StrictFilterSet):
    """Conditions on events of a task."""

    event_type = django_filters.CharFilter()
    actor = django_filters.CharFilter()


class RunFilter(StrictFilterSet):
    """Conditions on runs."""

    workflow = django_filters.CharFilter()
    created_by = django_filters.CharFilter(help_text="Such as key:ingest or user:alice.")
    label = django_filters.CharFilter(lookup_expr="startswith")
    created_after, created_before = between("created_at")


class LimitFilter(StrictFilterSet):
    """Conditions on limits."""

    scope = django_filters.ChoiceFilter(choices=Limit.Scope.choices)
    name = django_filters.CharFilter(lookup_expr="startswith", help_text="The beginning of the name.")
    explicit = BooleanFilter(help_text="Whether an operator set it.")


class ScheduleFilter(StrictFilterSet):
    """Conditions on schedules."""

    task_name = django_filters.CharFilter()
    queue_name = django_filters.CharFilter()
    enabled = BooleanFilter()


class WorkerFilter(StrictFilterSet):
    """Conditions on workers."""

    worker_id = django_filters.CharFilter(field_name="label", help_text="Its --worker-id.")
    host = django_filters.CharFilter()
    queue_name = django_filters.CharFilter(method="serving", help_text="Workers that serve the queue.")
    up = BooleanFilter(field_name="stopped_at", lookup_expr="isnull", help_text="Whether it has not stopped.")

    def serving(self, rows: Any, name: str, value: str) -> Any:
        """Return the workers that serve the queue."""
        return rows.filter(queues__contains=[value])
