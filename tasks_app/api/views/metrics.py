"""All figures, for people and for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.query import refuse_unknown
from tasks_app.api.system_serializers import MetricsSerializer
from tasks_app.monitoring import metrics
from tasks_app.monitoring.prometheus import exposition


class PrometheusRenderer(BaseRenderer):
    """Prometheus's text, for `Accept: text/plain` and `?format=prometheus`; errors stay JSON documents."""

    media_type = "text/plain"
    format = "prometheus"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return data if isinstance(data, bytes) else json.dumps(data).encode()


class MetricsView(APIView):
    """Throughput, waits, run times, rates, workers, the feed and the database, at most two seconds old."""

    renderer_classes = [JSONRenderer, PrometheusRenderer]

    @extend_schema(
        operation_id="metrics",
        responses={(200, "application/json"): MetricsSerializer, (200, "text/plain"): str},
    )
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, {"format"})
        found = metrics.snapshot()
        if isinstance(request.accepted_renderer, PrometheusRenderer):
            return Response(exposition(found), content_type=CONTENT_TYPE_LATEST)
        return Response(MetricsSerializer(found).data)
