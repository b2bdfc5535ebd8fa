"""Choices above the activity: by whom, of what type, between which moments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Max, QuerySet
from django.http import HttpRequest

from tasks_app.admin.filters import Choices, KnownValueFilter
from tasks_app.admin.reading import id_range
from tasks_app.admin.task_states import LATEST_READ
from tasks_app.models import ApiKey, TaskEvent
from tasks_app.models.history import BY_PEOPLE, PEOPLE

EVERYTHING = "everything"
EVERYTHING_MOST = 100_000
PEOPLE_MOST = 100


def of_scope(request: HttpRequest, rows: QuerySet[TaskEvent]) -> QuerySet[TaskEvent]:
    """Return what people, keys and commands did besides spawning; or the last events of all, where that is chosen."""
    if id_range(request.GET.get("q", "")):
        return rows
    if request.GET.get("by") == EVERYTHING:
        last: int = TaskEvent.objects.aggregate(last=Max("id"))["last"] or 0
        return rows.filter(id__gt=last - EVERYTHING_MOST)
    return rows.filter(BY_PEOPLE)


class ActorFilter(KnownValueFilter):
    """By person, key or command. A task that is searched for shows all its events."""

    title = "by"
    parameter_name = "by"
    all_label = "people, keys, commands"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        people = User.objects.filter(is_active=True).order_by("username").values_list("username", flat=True)
        keys = ApiKey.objects.filter(revoked=False).order_by("name").values_list("name", flat=True)
        names = [f"user:{name}" for name in people[:PEOPLE_MOST]]
        names += dict.fromkeys(f"key:{name}" for name in keys[:PEOPLE_MOST])
        return [
            (EVERYTHING, f"everything, of the last {EVERYTHING_MOST:,}"),
            *((name, name) for name in names),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().queryset(request, of_scope(request, queryset))

    def knows(self, value: str) -> bool:
        """Return whether it may have done something; who is gone now may have."""
        return value == EVERYTHING or value.startswith(PEOPLE)

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows if value == EVERYTHING else rows.filter(actor=value)


class EventTypeFilter(admin.SimpleListFilter):
    """By the type of the event, of those that occur."""

    title = "event type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        latest = of_scope(request, TaskEvent.objects.all()).order_by("-id").values_list("event_type")[:LATEST_READ]
        found = {name for (name,) in latest.iterator()} | ({self._chosen} if self._chosen else set())
        return [(name, name.replace("_", " ")) for name in sorted(found)] or [("", "")]

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        self._chosen = request.GET.get(self.parameter_name, "")
        super().__init__(request, params, model, model_admin)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(event_type=self.value()) if self.value() else queryset


class MomentFilter(admin.SimpleListFilter):
    """From or until a moment that is written in UTC."""

    is_moment = True
    lookup = ""
    refusal = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("", "")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        text = str(self.value())
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.refusal = f"{self.title}: {text[:50]!r} is no time such as 2026-10-01T06:00 (UTC)."
            return queryset.none()
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return queryset.filter(**{self.lookup: moment})


class FromFilter(MomentFilter):
    """Not before a moment."""

    title, parameter_name, lookup = "from (UTC)", "from", "created_at__gte"


class UntilFilter(MomentFilter):
    """Before a moment."""

    title, parameter_name, lookup = "until (UTC)", "until", "created_at__lt"
