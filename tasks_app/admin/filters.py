"""Choices beside the lists: fixed, or from small tables, so that none of them costs a scan."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks_app.admin.display import BANDS
from tasks_app.admin.task_states import LATEST_READ, STATES, in_state
from tasks_app.engine import registry
from tasks_app.models import Queue, Task

Choices = list[tuple[str, str]]


class StatusFilter(admin.SimpleListFilter):
    """By stored status, or a finer state."""

    title = "status"
    parameter_name = "status"
    states = STATES

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(state, state) for state in self.states]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        if not state:
            return queryset
        if state not in self.states:
            messages.warning(request, f"There is no status {state!r}: it is one of {', '.join(self.states)}.")
            return queryset.none()
        return in_state(queryset, state)


class CreatorFilter(admin.SimpleListFilter):
    """By who spawned it, of the latest tasks."""

    title = f"spawned by, of the last {LATEST_READ:,}"
    parameter_name = "created_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(f"user:{request.user.get_username()}", "me")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        latest = Task.objects.order_by("-id").values("pk")[:LATEST_READ]
        return queryset.filter(created_by=self.value(), pk__in=latest)


class QueueFilter(admin.SimpleListFilter):
    """By queue."""

    title = "queue"
    parameter_name = "queue"
    column = "queue_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in Queue.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class EventQueueFilter(QueueFilter):
    """By queue, of events."""

    column = "queue_name"


class TaskNameFilter(admin.SimpleListFilter):
    """By registered task name."""

    title = "task name"
    parameter_name = "task_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in registry.names()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(task_name=self.value()) if self.value() else queryset


class BandFilter(admin.SimpleListFilter):
    """By the guide's bands of priority."""

    title = "priority"
    parameter_name = "band"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        tops = [20, *(least - 1 for least, _ in BANDS)]
        return [(name, f"{least}–{top} {name}") for (least, name), top in zip(BANDS, tops, strict=False)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        tops = [20, *(least - 1 for least, _ in BANDS)]
        for (least, name), top in zip(BANDS, tops, strict=False):
            if self.value() == name:
                return queryset.filter(priority__gte=least, priority__lte=top)
        return queryset


class SinceFilter(admin.SimpleListFilter):
    """By age."""

    title = "created"
    parameter_name = "since"
    hours = {"1h": 1, "24h": 24, "7d": 168}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("1h", "last hour"), ("24h", "last 24 hours"), ("7d", "last 7 days")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        hours = self.hours.get(self.value() or "")
        return queryset.filter(created_at__gte=timezone.now() - timedelta(hours=hours)) if hours else queryset
