"""The system: queues, limits, schedules, workers, what can be spawned, and whether everything is frozen."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import examples
from tasks_app.api.lists import LimitFilter, ListView, ScheduleFilter, WholeList, WorkerFilter
from tasks_app.api.requests import IF_NONE_MATCH, tagged, unchanged, worker_tag
from tasks_app.api.serializers import (
    AcknowledgementSerializer,
    FreezeSerializer,
    LimitSerializer,
    QueueSerializer,
    QueueStatsSerializer,
    ScheduleDetailSerializer,
    ScheduleSerializer,
    SystemStateSerializer,
    TaskNameDetailSerializer,
    TaskNameSerializer,
    WorkerSerializer,
    WorkflowSerializer,
)
from tasks_app.api.views.operations import Answer, handler_of, nothing, shown_by
from tasks_app.engine import registry
from tasks_app.engine.cron import upcoming
from tasks_app.errors import LimitNotFound, QueueNotFound, ScheduleNotFound, UnknownTaskName, WorkerNotFound
from tasks_app.models import Limit, Queue, Schedule, Worker
from tasks_app.monitoring.queues import queue_stats
from tasks_app.monitoring.workers import (
    LIVE_STATES,
    SHOWN_MOST,
    STATES,
    WorkerReport,
    recent,
    report_on,
    sorted_reports,
)
from tasks_app.operations import schedules
from tasks_app.operations.operation import row_of
from tasks_app.operations.queues import remove_limit, set_limit
from tasks_app.operations.system import current_freeze
from tasks_app.postgresql import clock
from tasks_app.workflows import registry as workflows

# Queues


def queue_names() -> list[str]:
    """Return all queues by name, the configured one even before its first task."""
    return sorted({settings.ABSURD_QUEUE_NAME, *Queue.objects.values_list("name", flat=True)})


class QueueListView(APIView):
    """The names of all queues."""

    @extend_schema(
        operation_id="queue_names",
        responses=serializers.ListSerializer(child=serializers.CharField()),
        examples=examples.OF_QUEUES,
    )
    def get(self, request: Request) -> Response:
        return Response(queue_names())


class AllQueueStatsView(APIView):
    """The counts of every queue."""

    @extend_schema(
        operation_id="all_queue_stats", responses=QueueStatsSerializer(many=True), examples=examples.OF_STATS
    )
    def get(self, request: Request) -> Response:
        return Response(QueueStatsSerializer(queue_stats(queue_names()), many=True).data)


class QueueStatsView(APIView):
    """The counts of one queue."""

    @extend_schema(operation_id="queue_stats", responses=QueueStatsSerializer, examples=examples.OF_STATS)
    def get(self, request: Request, queue_name: str) -> Response:
        if queue_name not in queue_names():
            raise QueueNotFound(queue_name)
        return Response(QueueStatsSerializer(queue_stats([queue_name])[0]).data)


QUEUE = shown_by(QueueSerializer)


# Limits


def _limits() -> QuerySet[Limit, Any]:
    return Limit.objects.annotate(n_taken=Count("slots", filter=Q(slots__task_id__isnull=False)))


def _limit(scope: str, name: str) -> Limit:
    limit: Limit = row_of(_limits().filter(scope=scope, name=name), LimitNotFound(scope, name))
    return limit


class LimitListView(ListView):
    """All limits, also those that the keys of tasks brought about."""

    queryset = _limits()
    filterset_class = LimitFilter
    serializer_class = LimitSerializer
    list_name = "limits"
    oldest_first = True


class LimitView(RetrieveAPIView[Any]):
    """The limit of a queue or of a key."""

    needs = {"PUT": set_limit.need, "DELETE": remove_limit.need}
    put = handler_of(set_limit, shown_by(LimitSerializer, lambda key, _: _limit(*key)))
    delete = handler_of(remove_limit, nothing())
    serializer_class = LimitSerializer

    def get_object(self) -> Limit:
        return _limit(self.kwargs["scope"], self.kwargs["name"])


# Schedules


def _with_upcoming(schedule: Schedule) -> Schedule:
    moments = upcoming(schedule, clock.now()) if schedule.enabled else []
    schedule.upcoming = moments  # type: ignore[attr-defined]
    return schedule


SCHEDULE = shown_by(ScheduleDetailSerializer, lambda _, schedule: _with_upcoming(schedule))
SAVED = Answer(
    response=lambda _, schedule: Response(
        ScheduleDetailSerializer(_with_upcoming(schedule)).data, status=201 if schedule.is_new else 200
    ),
    shapes={200: ScheduleDetailSerializer, 201: ScheduleDetailSerializer},
)


class ScheduleListView(ListView):
    """All schedules."""

    queryset = Schedule.objects.all()
    filterset_class = ScheduleFilter
    serializer_class = ScheduleSerializer
    list_name = "schedules"
    oldest_first = True


class ScheduleView(RetrieveAPIView[Any]):
    """One schedule."""

    needs = {"PUT": schedules.save.need, "PATCH": schedules.change.need, "DELETE": schedules.delete.need}
    put = handler_of(schedules.save, SAVED)
    patch = handler_of(schedules.change, SCHEDULE)
    delete = handler_of(schedules.delete, nothing())
    serializer_class = ScheduleDetailSerializer

    def get_object(self) -> Schedule:
        name = self.kwargs["name"]
        return _with_upcoming(row_of(Schedule.objects.filter(name=name), ScheduleNotFound(name)))


# Workers


def find_worker(text: str) -> Worker:
    """Return the worker of a boot id, or the last one that was started under a label. Raises WorkerNotFound."""
    found: Worker | None = None
    with suppress(ValueError):
        found = Worker.objects.filter(pk=UUID(text)).first()
    return found or row_of(Worker.objects.filter(label=text).order_by("-started_at"), WorkerNotFound(text[:100]))


def _report(worker: Worker) -> WorkerReport:
    return report_on([worker], clock.now())[0]


WORKER = shown_by(WorkerSerializer, lambda _, worker: _report(worker), key=lambda worker_id: find_worker(worker_id).pk)


class WorkerTotals(WholeList):
    """The whole list, and how many workers, slots and running tasks it has."""

    def get_paginated_response(self, data: Any) -> Response:
        states = Counter(each["state"] for each in data)
        up = [each for each in data if each["state"] in LIVE_STATES]
        totals = {
            "workers": len(data),
            "slots": sum(each["concurrency"] for each in up),
            "tasks": sum(len(each["tasks"]) for each in up),
            "states": {state: states[state] for state in STATES},
        }
        return Response({self.view.list_name: data, "totals": totals})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 0}
        states = {"type": "object", "additionalProperties": number, "description": "How many are in each state."}
        named = {"workers": number, "slots": number, "tasks": number, "states": states}
        found = super().get_paginated_response_schema(schema)
        found["required"].append("totals")
        found["properties"]["totals"] = {"type": "object", "required": [*named], "properties": named}
        return found


class WorkerListView(ListView):
    """Workers that reported within a day, those that are up first; 500 at most."""

    queryset = Worker.objects.all()
    filterset_class = WorkerFilter
    serializer_class = WorkerSerializer
    pagination_class = WorkerTotals
    list_name = "workers"

    def get_queryset(self) -> Any:
        return recent(clock.now())

    def paginate_queryset(self, queryset: Any) -> Any:
        workers: Any = super().paginate_queryset(queryset[:SHOWN_MOST])
        return sorted_reports(report_on(workers, clock.now()))


class WorkerView(RetrieveAPIView[Any]):
    """One worker, by its boot id, or by its label the last that was started under it."""

    serializer_class = WorkerSerializer

    @extend_schema(parameters=[IF_NONE_MATCH])
    def get(self, request: Request, worker_id: str) -> Response:
        report = _report(find_worker(worker_id))
        tag = worker_tag(report)
        return unchanged(request, tag) or tagged(Response(self.get_serializer(report).data), tag)


# What can be spawned


class TaskNameListView(ListView):
    """All registered task names."""

    serializer_class = TaskNameSerializer
    pagination_class = WholeList
    list_name = "task_names"

    def get_queryset(self) -> Any:
        return [registry.get(name) for name in registry.names()]


class TaskNameView(RetrieveAPIView[Any]):
    """One task name with the JSON Schema of its params."""

    serializer_class = TaskNameDetailSerializer

    def get_object(self) -> Any:
        try:
            return registry.get(self.kwargs["task_name"])
        except UnknownTaskName as error:
            raise NotFound(str(error)) from None


class WorkflowListView(ListView):
    """All registered workflows with the JSON Schema of their params; other runs are spawned by giving their stages."""

    serializer_class = WorkflowSerializer
    pagination_class = WholeList
    list_name = "workflows"

    def get_queryset(self) -> Any:
        return workflows.known()


# The whole system


def _freeze_state() -> dict[str, Any]:
    frozen = current_freeze()
    if frozen is None:
        return {"frozen": False}
    return {"frozen": True, "frozen_at": frozen.frozen_at, "frozen_by": frozen.frozen_by, "reason": frozen.reason}


class FreezeStateView(RetrieveAPIView[Any]):
    """Whether everything is frozen; POST freezes it."""

    serializer_class = FreezeSerializer

    @extend_schema(operation_id="get_freeze", description="Whether everything is frozen, since when, by whom and why.")
    def get(self, request: Request) -> Response:
        return Response(self.get_serializer(_freeze_state()).data)


FREEZE = shown_by(FreezeSerializer, lambda *_: _freeze_state())
STATE = shown_by(SystemStateSerializer)
ACKNOWLEDGED = shown_by(AcknowledgementSerializer)
EMERGENCY = Answer(
    response=lambda *_: Response({"frozen": current_freeze() is not None}),
    shapes={200: {"frozen": serializers.BooleanField(help_text="Whether everything is frozen now.")}},
)
