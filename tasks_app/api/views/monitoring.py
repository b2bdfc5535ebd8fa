"""Health and metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import version
from tasks_app.api import examples
from tasks_app.api.access import may_read
from tasks_app.api.requests import flag, refuse_unknown
from tasks_app.api.serializers import CheckSerializer, HealthSerializer, MetricsSerializer
from tasks_app.monitoring import health, metrics
from tasks_app.monitoring.prometheus import exposition
from tasks_app.monitoring.series import Scrape

UNAVAILABLE = "Database unavailable: start PostgreSQL or correct ABSURD_DATABASE_URL"
TERSE = {
    "healthy": "Absurd is operational",
    "degraded": "Absurd is degraded; send an API key to see the reasons",
    "unhealthy": "Absurd is unhealthy; send an API key to see the reasons",
    "disabled": "Absurd is disabled",
}


class HealthView(APIView):
    """Health of the default queue, or of the one named; open to all, with reasons for those who may read."""

    permission_classes = [AllowAny]
    throttle_classes = []
    _found: health.Health

    def perform_authentication(self, request: Request) -> None:
        """Look up the caller only if the database answers: keys and sessions are in it."""
        self._found = health.check()
        if self._found.database_answers:
            super().perform_authentication(request)

    @extend_schema(
        operation_id="health",
        parameters=[
            OpenApiParameter("queue", str),
            OpenApiParameter(
                "checks", bool, description="With read permission: return every check, not only the faults"
            ),
        ],
        responses={200: HealthSerializer, 503: HealthSerializer},
        examples=examples.OF_HEALTH,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        if not self._found.database_answers:
            body = {"status": "unhealthy", "message": UNAVAILABLE, "queue": self._found.queue}
            return Response({**body, "database_available": False}, status=503)
        reader, checks = may_read(request), flag(query, "checks")
        queue = query.get("queue")
        found = health.check(queue) if queue and reader else self._found
        return _answer(found, reader=reader, checks=checks)


def _answer(found: health.Health, *, reader: bool, checks: bool = False) -> Response:
    body: dict[str, object] = {
        "status": found.status,
        "message": found.message if reader else TERSE[found.status],
        "queue": found.queue,
    }
    if reader:
        body["database_available"] = found.database_answers
        body["queue_depth"] = next((int(each.value or 0) for each in found.checks if each.name == "depth"), None)
    if reader and found.reasons:
        body["reasons"] = list(found.reasons)
    if reader and checks:
        body["checked_at"] = found.checked_at
        body["version"] = version.running()
        body["checks"] = CheckSerializer(found.checks, many=True).data
    headers = {"Age": str(round(found.age_sec))}
    return Response(body, status=503 if found.status in ("unhealthy", "disabled") else 200, headers=headers)


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
            scrape = Scrape(metrics=found, health=health.check())
            return Response(exposition(scrape), content_type=CONTENT_TYPE_LATEST)
        return Response(MetricsSerializer(found).data)
