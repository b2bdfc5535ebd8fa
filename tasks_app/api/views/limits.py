"""Limits: how many tasks of a queue or of a key are claimed at once."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.response import Response

from tasks_app.api.filters import LimitFilter
from tasks_app.api.lists import ListView
from tasks_app.api.system_serializers import LimitSerializer
from tasks_app.api.views.operations import Answer, handler_of
from tasks_app.errors import LimitNotFound
from tasks_app.models import Limit
from tasks_app.operations.limits import remove_limit, set_limit


def _limits() -> QuerySet[Limit, Any]:
    return Limit.objects.annotate(n_taken=Count("slots", filter=Q(slots__task_id__isnull=False)))


def _found(scope: str, name: str) -> Limit:
    limit: Limit | None = _limits().filter(scope=scope, name=name).first()
    if limit is None:
        raise LimitNotFound(scope, name)
    return limit


def _key(scope: str, name: str) -> tuple[str, str]:
    return scope, name


SET = Answer(
    key=_key, response=lambda key, _: Response(LimitSerializer(_found(*key)).data), shapes={200: LimitSerializer}
)
REMOVED = Answer(key=_key, response=lambda _key, _: Response(status=204), shapes={204: None})


@extend_schema_view(get=extend_schema(operation_id="list_limits"))
class LimitListView(ListView):
    """All limits, also those that the keys of tasks brought about."""

    queryset = _limits()
    filterset_class = LimitFilter
    serializer_class = LimitSerializer
    list_name = "limits"
    oldest_first = True


@extend_schema_view(get=extend_schema(operation_id="get_limit"))
class LimitView(RetrieveAPIView[Any]):
    """The limit of a queue or of a key."""

    needs = {"PUT": set_limit.need, "DELETE": remove_limit.need}
    put = handler_of(set_limit, SET)
    delete = handler_of(remove_limit, REMOVED)
    serializer_class = LimitSerializer

    def get_object(self) -> Limit:
        return _found(self.kwargs["scope"], self.kwargs["name"])
