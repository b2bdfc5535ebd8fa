"""What operators do to a task: reprioritise, retry, requeue, respawn."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import examples
from tasks_app.api.bodies import body_of
from tasks_app.api.permissions import check
from tasks_app.api.serializers import (
    PrioritySerializer,
    ReasonSerializer,
    RequeueSerializer,
    RespawnSerializer,
    SpawnedSerializer,
    TaskDetailSerializer,
)
from tasks_app.api.views.request import actor_of, find_task, task_id_of
from tasks_app.api.views.tasks import detail_of, spawned
from tasks_app.auth.requirements import READ, REPRIORITIZE, REQUEUE, RESPAWN, RETRY
from tasks_app.operations.reprioritize import reprioritize
from tasks_app.operations.requeue import requeue
from tasks_app.operations.respawn import respawn
from tasks_app.operations.retry import retry


class TaskPriorityView(APIView):
    """A task's place in the queue."""

    needs = {"POST": REPRIORITIZE}

    @extend_schema(
        operation_id="reprioritize_task",
        request=PrioritySerializer,
        responses=TaskDetailSerializer,
        examples=examples.OF_PRIORITY,
    )
    def post(self, request: Request, task_id: str) -> Response:
        wanted = body_of(request, PrioritySerializer)
        reprioritize(task_id_of(task_id), wanted["priority"], actor=actor_of(request), reason=wanted["reason"])
        return Response(detail_of(find_task(task_id)))


class TaskRetryView(APIView):
    """Another go for a failed or cancelled task."""

    needs = {"POST": RETRY}

    @extend_schema(operation_id="retry_task", request=ReasonSerializer, responses=TaskDetailSerializer)
    def post(self, request: Request, task_id: str) -> Response:
        retry(task_id_of(task_id), actor=actor_of(request), reason=body_of(request, ReasonSerializer)["reason"])
        return Response(detail_of(find_task(task_id)))


class TaskRequeueView(APIView):
    """Ends a stalled claim as lost, without waiting for a sweep."""

    needs = {"POST": REQUEUE}

    @extend_schema(operation_id="requeue_task", request=RequeueSerializer, responses=TaskDetailSerializer)
    def post(self, request: Request, task_id: str) -> Response:
        requeue(task_id_of(task_id), actor=actor_of(request), **body_of(request, RequeueSerializer))
        return Response(detail_of(find_task(task_id)))


class TaskRespawnView(APIView):
    """Spawns a changed copy of a task, also of an archived one."""

    needs = {"POST": RESPAWN}

    @extend_schema(operation_id="respawn_task", request=RespawnSerializer, responses={201: SpawnedSerializer})
    def post(self, request: Request, task_id: str) -> Response:
        find_task(task_id)
        check(request, READ)  # the copy that is shown holds what the old task was given
        wanted = body_of(request, RespawnSerializer)
        fresh = respawn(task_id_of(task_id), actor=actor_of(request), **wanted)
        return spawned(fresh)
