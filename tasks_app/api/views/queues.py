"""Queues: their names, their counts, pause and resume."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import examples
from tasks_app.api.bodies import body_of
from tasks_app.api.serializers import ReasonSerializer, StopSerializer
from tasks_app.api.system_serializers import QueueSerializer, QueueStatsSerializer
from tasks_app.api.views.request import actor_of
from tasks_app.auth.requirements import PAUSE
from tasks_app.errors import QueueNotFound
from tasks_app.models import Queue
from tasks_app.monitoring import queues
from tasks_app.operations import pause


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
        return Response(QueueStatsSerializer(queues.queue_stats(queue_names()), many=True).data)


class QueueStatsView(APIView):
    """The counts of one queue."""

    @extend_schema(operation_id="queue_stats", responses=QueueStatsSerializer, examples=examples.OF_STATS)
    def get(self, request: Request, queue_name: str) -> Response:
        if queue_name not in queue_names():
            raise QueueNotFound(queue_name)
        return Response(QueueStatsSerializer(queues.queue_stats([queue_name])[0]).data)


class QueuePauseView(APIView):
    """Stops claims from a queue."""

    needs = {"POST": PAUSE}

    @extend_schema(operation_id="pause_queue", request=StopSerializer, responses=QueueSerializer)
    def post(self, request: Request, queue_name: str) -> Response:
        reason = body_of(request, StopSerializer)["reason"]
        return Response(QueueSerializer(pause.pause(queue_name, actor=actor_of(request), reason=reason)).data)


class QueueResumeView(APIView):
    """Lets a queue be claimed from again."""

    needs = {"POST": PAUSE}

    @extend_schema(operation_id="resume_queue", request=ReasonSerializer, responses=QueueSerializer)
    def post(self, request: Request, queue_name: str) -> Response:
        reason = body_of(request, ReasonSerializer)["reason"]
        queue = pause.resume(queue_name, actor=actor_of(request), reason=reason)
        return Response(QueueSerializer(queue).data)
