"""Queues: their names and counts."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import examples
from tasks_app.api.system_serializers import QueueSerializer, QueueStatsSerializer
from tasks_app.api.views.operations import Answer
from tasks_app.errors import QueueNotFound
from tasks_app.models import Queue
from tasks_app.monitoring import queues


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


SHOWN = Answer(
    key=lambda queue_name: queue_name,
    response=lambda _, queue: Response(QueueSerializer(queue).data),
    shapes={200: QueueSerializer},
)
