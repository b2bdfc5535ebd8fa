"""What has happened to a task: its events and its attempts."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import archive
from tasks_app.api.pagination import Page, next_address, refuse_unknown
from tasks_app.api.serializers import (
    AttemptListSerializer,
    AttemptSerializer,
    EventListSerializer,
    EventSerializer,
)
from tasks_app.api.views.request import find_task
from tasks_app.models import Attempt, Task, TaskEvent


class TaskEventsView(APIView):
    """Events of one task, oldest first."""

    @extend_schema(
        operation_id="task_events",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("cursor", int)],
        responses=EventListSerializer,
    )
    def get(self, request: Request, task_id: str) -> Response:
        refuse_unknown(request.query_params, {"limit", "cursor"})
        page = Page.of(request.query_params)
        found = _events(find_task(task_id), after=page.cursor or 0, limit=page.limit + 1)
        more, found = len(found) > page.limit, found[: page.limit]
        following = next_address(request.path, request.query_params, found[-1].pk) if more else None
        return Response({"events": EventSerializer(found, many=True).data, "next": following})


class TaskAttemptsView(APIView):
    """Attempts of one task, first to last."""

    @extend_schema(operation_id="task_attempts", responses=AttemptListSerializer)
    def get(self, request: Request, task_id: str) -> Response:
        return Response({"attempts": AttemptSerializer(_attempts(find_task(task_id)), many=True).data})


def _events(task: Task, *, after: int, limit: int) -> list[TaskEvent]:
    if archive.is_archived(task):
        return [event for event in archive.events_of(task.task_id) if event.pk > after][:limit]
    return list(TaskEvent.objects.filter(task_id=task.task_id, id__gt=after).order_by("id")[:limit])


def _attempts(task: Task) -> list[Attempt]:
    if archive.is_archived(task):
        return archive.attempts_of(task.task_id)
    return list(Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("number"))
