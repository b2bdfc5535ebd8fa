"""Schedules: list, look at, make, change."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.bodies import body_of
from tasks_app.api.filters import ScheduleFilter
from tasks_app.api.lists import ListView
from tasks_app.api.schedule_serializers import SaveScheduleSerializer
from tasks_app.api.serializers import SpawnedSerializer
from tasks_app.api.system_serializers import ScheduleDetailSerializer, ScheduleSerializer
from tasks_app.api.views.operations import Answer, handler_of
from tasks_app.api.views.request import actor_of
from tasks_app.api.views.tasks import spawned
from tasks_app.auth.requirements import Need
from tasks_app.engine.cron import upcoming
from tasks_app.errors import ScheduleNotFound
from tasks_app.models import Schedule
from tasks_app.operations import schedules
from tasks_app.postgresql import clock

CHANGE_SCHEDULE = Need(scope="admin", permission="tasks_app.change_schedule")


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


SHOWN = Answer(
    key=lambda name: name, response=lambda _, found: Response(_shown(found)), shapes={200: ScheduleDetailSerializer}
)
SPAWNED = Answer(key=lambda name: name, response=lambda _, task: spawned(task), shapes={201: SpawnedSerializer})
DELETED = Answer(key=lambda name: name, response=lambda _key, _: Response(status=204), shapes={204: None})


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

    needs = {"PUT": CHANGE_SCHEDULE, "PATCH": CHANGE_SCHEDULE, "DELETE": schedules.delete.need}
    delete = handler_of(schedules.delete, DELETED)
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
