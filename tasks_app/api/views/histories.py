"""What has happened to a task: its events and its attempts."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.filters import EventFilter, narrowed, parameters
from tasks_app.api.pagination import Page, next_address, paged
from tasks_app.api.serializers import (
    AttemptListSerializer,
    AttemptSerializer,
    EventListSerializer,
    EventSerializer,
)
from tasks_app.api.views.request import find_task
from tasks_app.engine import archive
from tasks_app.models import Attempt, Task, TaskEvent


class TaskEventsView(APIView):
    """Events of one task, oldest first."""

    @extend_schema(
        operation_id="task_events",
        parameters=parameters(EventFilter),
        responses=EventListSerializer,
    )
    def get(self, request: Request, task_id: str) -> Response:
        task = find_task(task_id)
        rows = narrowed(EventFilter, TaskEvent.objects.filter(task_id=task.task_id), request)
        if archive.is_archived(task):
            found, following = _archived_events(task, request)
        else:
            found, following = paged(rows, request, oldest_first=True)
        return Response({"events": EventSerializer(found, many=True).data, "next": following})


class TaskAttemptsView(APIView):
    """Attempts of one task, first to last."""

    @extend_schema(operation_id="task_attempts", responses=AttemptListSerializer)
    def get(self, request: Request, task_id: str) -> Response:
        return Response({"attempts": AttemptSerializer(_attempts(find_task(task_id)), many=True).data})


def _archived_events(task: Task, request: Request) -> tuple[list[TaskEvent], str | None]:
    page, query = Page.of(request.query_params), request.query_params
    wanted = [(name, query[name]) for name in EventFilter.base_filters if query.get(name)]
    fitting = [
        event
        for event in archive.events_of(task.task_id)
        if event.pk > (page.cursor or 0) and all(getattr(event, name) == value for name, value in wanted)
    ]
    found = fitting[: page.limit]
    more = len(fitting) > page.limit
    return found, next_address(request.path, query, found[-1].pk) if more else None


def _attempts(task: Task) -> list[Attempt]:
    if archive.is_archived(task):
        return archive.attempts_of(task.task_id)
    return list(Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("number"))
