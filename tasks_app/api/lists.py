"""Lists: filters that refuse what they do not know, pages by key, and a bound on the database's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import django_filters  # type: ignore[import-untyped]
import django_filters.rest_framework  # type: ignore[import-untyped]
from django.db import OperationalError, connection, transaction
from django.http import QueryDict
from psycopg.errors import QueryCanceled
from rest_framework.generics import ListAPIView
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.errors import BadQuery
from tasks_app.api.requests import refuse, whole
from tasks_app.errors import TooSlow
from tasks_app.models import Limit
from tasks_app.models.task import FINISHED
from tasks_app.operations.selection import BooleanFilter, StatusFilter, StrictFilterSet, between, unknown_parameters


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


LIMIT_DEFAULT, LIMIT_MOST = 100, 500
COUNT_MOST = 10_000
QUERY_SEC = 10.0
OPERATION_SEC = 25.0
"""What an operation on many tasks has not reached by then is left, so that the answer comes before a proxy gives up."""


class StrictFilterBackend(django_filters.rest_framework.DjangoFilterBackend):
    """Applies a view's `filterset_class`; refuses parameters that neither it, the pages nor the view know."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        """Return the rows that the query selects. Raises BadQuery."""
        query = request.query_params
        known = {*view.query_parameters, *(view.paginator.parameters if view.paginator else ())}
        filterset = self.get_filterset(request, queryset, view)
        if filterset is None:
            refuse(unknown_parameters(query, known))
            return queryset
        refuse(filterset.problems(query, beside=known))
        return filterset.qs


class WholeList(BasePagination):
    """The whole list in one answer, under the view's `list_name`."""

    parameters: Sequence[str] = ()
    view: Any

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.view = view
        return list(queryset)

    def get_paginated_response(self, data: Any) -> Response:
        return Response({self.view.list_name: data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = self.view.list_name
        return {"type": "object", "required": [name], "properties": {name: schema}}


class KeysetPagination(WholeList):
    """Pages by primary key: as quick at the millionth row as at the first, and steady while rows are added."""

    parameters = ("limit", "cursor")
    cursor_schema: dict[str, Any] = {"type": "string", "pattern": "^[0-9]{0,15}$"}
    next: str | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the rows of the page that the request asks for. Raises BadQuery."""
        self.view, query = view, request.query_params
        limit, cursor = limit_of(query), whole(query, "cursor", None)
        if isinstance(queryset, list):
            found = [row for row in queryset if row.pk > (cursor or 0)][: limit + 1]
        else:
            order, after = ("pk", "pk__gt") if view.oldest_first else ("-pk", "pk__lt")
            rows = queryset if cursor is None else queryset.filter(**{after: cursor})
            found = list(rows.order_by(order)[: limit + 1])
        if len(found) > limit:
            self.next = next_address(request, found[limit - 1].pk)
        return found[:limit]

    def get_paginated_response(self, data: Any) -> Response:
        return Response({self.view.list_name: data, "next": self.next})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        found = super().get_paginated_response_schema(schema)
        found["required"].append("next")
        description = "Address of the next page; null on the last one."
        found["properties"]["next"] = {"type": "string", "nullable": True, "description": description, "example": None}
        return found

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST, "default": LIMIT_DEFAULT}
        return [
            {"name": "limit", "in": "query", "schema": limit, "description": "Rows of a page."},
            {"name": "cursor", "in": "query", "schema": self.cursor_schema, "description": "Taken from `next`."},
        ]


class ListView(ListAPIView[Any]):
    """A list: `queryset` narrowed by `filterset_class`, shown by `serializer_class` under `list_name`."""

    filter_backends = [StrictFilterBackend]
    pagination_class: type[WholeList] = KeysetPagination
    list_name: str
    oldest_first = False
    query_parameters: Sequence[str] = ()
    """Parameters beside those of filters and pages."""

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer, or give up in time. Raises BadQuery and TooSlow."""
        with bounded():
            return super().list(request, *args, **kwargs)


def limit_of(query: QueryDict) -> int:
    """Return how many rows a page may have. Raises BadQuery."""
    limit = whole(query, "limit", LIMIT_DEFAULT)
    if limit is None or not 1 <= limit <= LIMIT_MOST:
        raise BadQuery([{"path": "limit", "message": f"must be between 1 and {LIMIT_MOST} (got {limit})"}])
    return limit


def next_address(request: Request, last: object) -> str:
    """Return path and query of the page after the row `last`."""
    following = request.query_params.copy()
    following["cursor"] = str(last)
    return f"{request.path}?{following.urlencode()}"


def capped_count(rows: Any) -> tuple[int, bool]:
    """Return how many rows there are, up to COUNT_MOST, and whether that is all of them."""
    count = rows.order_by()[: COUNT_MOST + 1].values("pk").count()
    return min(count, COUNT_MOST), count <= COUNT_MOST


@contextmanager
def bounded(limit_sec: float | None = None) -> Iterator[None]:
    """Set a statement timeout in seconds for the block. Raises TooSlow."""
    limit_sec = QUERY_SEC if limit_sec is None else limit_sec
    nested = connection.in_atomic_block
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{round(limit_sec * 1000)}ms"])
            yield
            if nested:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow(limit_sec) from None
        raise
