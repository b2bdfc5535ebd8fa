"""Who does the work."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.serializers import WorkerListSerializer, WorkerSerializer
from tasks_app.worker_states import recent_workers


class WorkerListView(APIView):
    """Workers that reported within a day, those that are up first."""

    @extend_schema(operation_id="list_workers", responses=WorkerListSerializer)
    def get(self, request: Request) -> Response:
        return Response({"workers": WorkerSerializer(recent_workers(), many=True).data})
