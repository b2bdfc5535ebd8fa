"""Schedules: list, look at, make, change, delete, enable, disable, run now."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.bodies import body_of
from tasks_app.api.filters import ScheduleFilter
from tasks_app.api.lists import ListView
from tasks_app.api.schedule_serializers import SaveScheduleSerializer
from tasks_app.api.serializers import ReasonSerializer, SpawnedSerializer
from tasks_app.api.system_serializers import ScheduleDetailSerializer, ScheduleSerializer
from tasks_app.api.views.request import actor_of, reason_of_deletion
from tasks_app.api.views.tasks import spawned
from tasks_app.auth.requirements import CHANGE_SCHEDULE, DELETE_SCHEDULE, RUN_SCHEDULE
from tasks_app.engine.cron import upcoming
from tasks_app.errors import ScheduleNotFound
from tasks_app.models import Schedule
from tasks_app.operations import schedules
from tasks_app.postgresql import clock


def _found(name: str) -> Schedule:
    schedule = Schedule.objects.filter(name=name).first()
    if schedule is None:
        raise ScheduleNotFound(name)
    return schedule


def _with_upcoming(schedule: Schedule) -> Schedule:
    moments = upcoming(schedule, clock.now()) if schedule.enabled else []
    schedule.upcoming = moments  # type: ignore[attr-defined]
    return schedule


def _shown(schedule: Schedule) -> dict[str, Any]:
    return dict(ScheduleDetailSerializer(_with_upcoming(schedule)).data)


@extend_schema_view(get=extend_schema(operation_id="list_schedules"))
class ScheduleListView(ListView):
    """All schedules."""

    queryset = Schedule.objects.all()
    filterset_class = ScheduleFilter
    serializer_class = ScheduleSerializer
    list_name = "schedules"
    oldest_first = True


@extend_schema_view(get=extend_schema(operation_id="get_schedule"))
class ScheduleView(RetrieveAPIView[Any]):
    """One schedule."""

    needs = {"PUT": CHANGE_SCHEDULE, "PATCH": CHANGE_SCHEDULE, "DELETE": DELETE_SCHEDULE}
    serializer_class = ScheduleDetailSerializer

    def get_object(self) -> Schedule:
        return _with_upcoming(_found(self.kwargs["name"]))

    @extend_schema(
        operation_id="save_schedule",
        request=SaveScheduleSerializer,
        responses={200: ScheduleDetailSerializer, 201: ScheduleDetailSerializer},
        description="Creates or replaces the schedule; fields left out get their defaults.",
    )
    def put(self, request: Request, name: str) -> Response:
        wanted = body_of(request, SaveScheduleSerializer)
        reason = wanted.pop("reason")
        saved, created = schedules.save_or_create(name, wanted, actor=actor_of(request), reason=reason)
        return Response(_shown(saved), status=201 if created else 200)

    @extend_schema(
        operation_id="change_schedule",
        request=SaveScheduleSerializer,
        responses=ScheduleDetailSerializer,
        description="Changes only the given fields.",
    )
    def patch(self, request: Request, name: str) -> Response:
        wanted = body_of(request, SaveScheduleSerializer, partial=True)
        reason = wanted.pop("reason", "")
        saved, _ = schedules.save_or_create(name, wanted, actor=actor_of(request), reason=reason, create=False)
        return Response(_shown(saved))

    @extend_schema(operation_id="delete_schedule", parameters=[OpenApiParameter("reason", str)], responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        schedules.delete(name, actor=actor_of(request), reason=reason_of_deletion(request))
        return Response(status=204)


class ScheduleEnableView(APIView):
    """Lets a schedule spawn from now on."""

    needs = {"POST": RUN_SCHEDULE}

    @extend_schema(operation_id="enable_schedule", request=ReasonSerializer, responses=ScheduleDetailSerializer)
    def post(self, request: Request, name: str) -> Response:
        return _set_enabled(request, name, True)


class ScheduleDisableView(APIView):
    """Lets a schedule spawn no longer."""

    needs = {"POST": RUN_SCHEDULE}

    @extend_schema(operation_id="disable_schedule", request=ReasonSerializer, responses=ScheduleDetailSerializer)
    def post(self, request: Request, name: str) -> Response:
        return _set_enabled(request, name, False)


def _set_enabled(request: Request, name: str, enabled: bool) -> Response:
    reason = body_of(request, ReasonSerializer)["reason"]
    return Response(_shown(schedules.set_enabled(name, enabled, actor=actor_of(request), reason=reason)))


class ScheduleRunView(APIView):
    """Spawns a schedule's task now; its next moment stays."""

    needs = {"POST": RUN_SCHEDULE}

    @extend_schema(operation_id="run_schedule", request=ReasonSerializer, responses={201: SpawnedSerializer})
    def post(self, request: Request, name: str) -> Response:
        reason = body_of(request, ReasonSerializer)["reason"]
        task = schedules.run_now(name, actor=actor_of(request), reason=reason)
        return spawned(task)
