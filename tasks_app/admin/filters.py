"""Choices above the lists: fixed, from small tables or the latest rows, so that none of them costs a scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks_app.admin.display import BANDS
from tasks_app.admin.task_states import LATEST_READ, STATES, in_state
from tasks_app.engine import registry
from tasks_app.models import Queue
from tasks_app.models.task import BY_PERSON
from tasks_app.validation import PRIORITY_MOST

Choices = list[tuple[str, str]]
CHOICES_NAMED = 20
F = TypeVar("F", bound="KnownValueFilter")


class KnownValueFilter(admin.SimpleListFilter, ABC):
    """A choice. A value that there is not is refused: an empty list would say that nothing matches."""

    refusal = ""
    """Why the value in the address is refused, once the list was made."""

    def has_output(self) -> bool:
        """Even without choices the value in the address counts."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if not self.knows(str(value)):
            known = [str(choice) for choice, _ in self.lookup_choices]
            listed = ", ".join(known[:CHOICES_NAMED]) + (", …" if len(known) > CHOICES_NAMED else "")
            expected = f": it is one of {listed}" if known else ""
            self.refusal = f"There is no {self.title} {str(value)[:100]!r}{expected}."
            return queryset.none()
        return self.narrowed(queryset, str(value))

    def knows(self, value: str) -> bool:
        """Return whether there is such a value."""
        return value in {str(choice) for choice, _ in self.lookup_choices}

    @abstractmethod
    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the rows that have the value."""


class ColumnFilter(KnownValueFilter):
    """By a column that has a choice of values, is a flag, or leads to a small table."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        field = model_admin.opts.get_field(self.parameter_name)
        if field.is_relation:
            return [(str(row.pk), str(row)) for row in field.related_model.objects.order_by("pk")[:CHOICES_NAMED]]
        named = {str(value): str(words) for value, words in field.flatchoices}
        return list((named or {"True": "yes", "False": "no"}).items())

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(**{str(self.parameter_name): value})


def by_column(column: str) -> type[ColumnFilter]:
    """Return the filter of a column."""
    return filter_of(column, ColumnFilter)


def filter_of(column: str, kind: type[F]) -> type[F]:
    """Return a kind of filter for a column."""
    names = {"title": column.removeprefix("is_").replace("_", " "), "parameter_name": column}
    return type(f"{column.title().replace('_', '')}Filter", (kind,), names)


class StatusFilter(KnownValueFilter):
    """By stored status, or a finer state."""

    title = "status"
    parameter_name = "status"
    states = STATES

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(state, state) for state in self.states]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return in_state(rows, value)


class CreatorFilter(KnownValueFilter):
    """By the person who spawned it."""

    title = "spawned by"
    parameter_name = "created_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(f"user:{request.user.get_username()}", "me")]

    def knows(self, value: str) -> bool:
        """Return whether it is a person; other people's tasks are found by an address."""
        prefix, _, name = value.partition(":")
        return prefix == "user" and User.objects.filter(username=name).exists()

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        # The condition of the index, which PostgreSQL does not conclude.
        return rows.filter(BY_PERSON, created_by=value)


class QueueFilter(KnownValueFilter):
    """By queue."""

    title = "queue"
    parameter_name = "queue"
    column = "queue_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in Queue.objects.values_list("name", flat=True)]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(**{self.column: value})


class EventQueueFilter(QueueFilter):
    """By queue, of events."""

    column = "queue_name"


class TaskNameFilter(KnownValueFilter):
    """By task name, of those that occur among the latest tasks; one that is registered is known all the same."""

    title = "task name"
    parameter_name = "task_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        chosen = request.GET.get(self.parameter_name, "")
        latest = names_of_latest(model_admin.model)
        return [(name, name) for name in sorted(latest | ({chosen} & set(registry.names())))]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(task_name=value)


def names_of_latest(model: Any) -> set[str]:
    """Return the task names of the last LATEST_READ rows."""
    # Sorted out here: with DISTINCT PostgreSQL reads the whole table.
    return set(model.objects.order_by("-id").values_list("task_name", flat=True)[:LATEST_READ].iterator())


class BandFilter(KnownValueFilter):
    """By the guide's bands of priority."""

    title = "priority"
    parameter_name = "band"
    bounds = {
        name: (least, top)
        for (least, name), top in zip(BANDS, (PRIORITY_MOST, *(least - 1 for least, _ in BANDS)), strict=False)
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, f"{least}–{top} {name}") for name, (least, top) in self.bounds.items()]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        least, top = self.bounds[value]
        return rows.filter(priority__gte=least, priority__lte=top)


class SinceFilter(KnownValueFilter):
    """By age."""

    title = "created"
    parameter_name = "since"
    hours = {"1h": 1, "24h": 24, "7d": 168}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("1h", "last hour"), ("24h", "last 24 hours"), ("7d", "last 7 days")]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(created_at__gte=timezone.now() - timedelta(hours=self.hours[value]))
