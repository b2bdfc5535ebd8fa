"""Limits: how many tasks of a queue or of a key are claimed at once."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.bodies import body_of
from tasks_app.api.filters import LimitFilter
from tasks_app.api.limit_serializers import SetLimitSerializer
from tasks_app.api.lists import ListView
from tasks_app.api.system_serializers import LimitSerializer
from tasks_app.api.views.request import actor_of, reason_of_deletion
from tasks_app.auth.requirements import SET_LIMIT
from tasks_app.errors import LimitNotFound, QueueNotFound
from tasks_app.models import Limit, Queue
from tasks_app.operations.limit import remove_limit, set_limit


def _limits() -> QuerySet[Limit, Any]:
    return Limit.objects.annotate(n_taken=Count("slots", filter=Q(slots__task_id__isnull=False)))


def _found(scope: str, name: str) -> Limit:
    limit: Limit | None = _limits().filter(scope=scope, name=name).first()
    if limit is None:
        raise LimitNotFound(scope, name)
    return limit


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

    needs = {"PUT": SET_LIMIT, "DELETE": SET_LIMIT}
    serializer_class = LimitSerializer

    def get_object(self) -> Limit:
        return _found(self.kwargs["scope"], self.kwargs["name"])

    @extend_schema(
        operation_id="set_limit",
        request=SetLimitSerializer,
        responses=LimitSerializer,
        description="Creates the limit or changes its size. A smaller size stops no running task.",
    )
    def put(self, request: Request, scope: str, name: str) -> Response:
        wanted = body_of(request, SetLimitSerializer)
        if scope == Limit.Scope.QUEUE and not Queue.objects.filter(name=name).exists():
            raise QueueNotFound(name)
        set_limit(scope, name, wanted["size"], actor=actor_of(request), reason=wanted["reason"])
        return Response(LimitSerializer(_found(scope, name)).data)

    @extend_schema(operation_id="remove_limit", parameters=[OpenApiParameter("reason", str)], responses={204: None})
    def delete(self, request: Request, scope: str, name: str) -> Response:
        reason = reason_of_deletion(request)
        remove_limit(scope, _found(scope, name).name, actor=actor_of(request), reason=reason)
        return Response(status=204)
