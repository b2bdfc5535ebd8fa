"""Filters whose queries stay quick among millions of rows."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.core.cache import cache
from django.db.models import QuerySet
from django.http import HttpRequest

from tasks_app.admin.filters import KnownValueFilter, filter_of
from tasks_app.admin.reading import latest

VALUES_MOST = 100
VALUES_SEC = 300
"""A value that occurs for the first time can be chosen after this time at the latest."""


class VerdictFilter(KnownValueFilter):
    """By verdict: the three there are, whichever occur."""

    title = "verdict"
    parameter_name = "verdict"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pass", "pass"), ("warn", "warn"), ("fail", "fail")]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(verdict=value)


class OccurringFilter(KnownValueFilter):
    """By the values of a column that occur; they are looked for once in a while only."""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        self._model = model_admin.model
        rows = self._model._default_manager.order_by(self.parameter_name)
        values = rows.values_list(self.parameter_name, flat=True).distinct()[:VALUES_MOST]
        key = f"pipeline-values-{model_admin.opts.model_name}-{self.parameter_name}"
        found = cache.get_or_set(key, lambda: list(values), VALUES_SEC) or []
        return [(str(value), str(value)) for value in found if value]

    def knows(self, value: str) -> bool:
        """Return whether the value occurs; one that is new is not among the choices yet."""
        return super().knows(value) or self.narrowed(latest(self._model.objects.order_by()), value).exists()

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(**{str(self.parameter_name): value})


def occurring(column: str) -> type[OccurringFilter]:
    """Return the filter of a column."""
    return filter_of(column, OccurringFilter)
