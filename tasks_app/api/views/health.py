"""Is the queue well?"""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import health
from tasks_app.api import examples
from tasks_app.api.pagination import flag
from tasks_app.api.permissions import may_read
from tasks_app.api.serializers import CheckSerializer, HealthSerializer

TERSE = {
    "healthy": "Absurd is operational",
    "degraded": "Absurd works but needs attention; ask with a key for the reasons",
    "unhealthy": "Absurd does not work; ask with a key for the reasons",
    "disabled": "Absurd is disabled",
}


class HealthView(APIView):
    """Health of the default queue, or of the one named; open to all, with reasons for those who may read."""

    permission_classes = [AllowAny]
    throttle_classes = []
    _database_answers = True

    def perform_authentication(self, request: Request) -> None:
        """Look whether the database answers first: keys and sessions are in it, and asking may take for ever."""
        self._database_answers = health.database_answers()
        if self._database_answers:
            super().perform_authentication(request)

    @extend_schema(
        operation_id="health",
        parameters=[
            OpenApiParameter("queue", str),
            OpenApiParameter("checks", bool, description="Tell readers of every check, not of faults only"),
        ],
        responses={200: HealthSerializer, 503: HealthSerializer},
        examples=examples.OF_HEALTH,
    )
    def get(self, request: Request) -> Response:
        if not self._database_answers:
            return _answer(health.unavailable(), told=True)
        query, reader = request.query_params, may_read(request)
        checks = flag(query, "checks")
        found = health.check(query.get("queue") or None if reader else None)
        return _answer(found, told=reader, checks=checks)


def _answer(found: health.Health, *, told: bool, checks: bool = False) -> Response:
    body: dict[str, object] = {
        "status": found.status,
        "message": found.message if told else TERSE[found.status],
        "queue": found.queue,
    }
    if told and found.reasons:
        body["reasons"] = list(found.reasons)
    if told and checks:
        body["checks"] = CheckSerializer(found.checks, many=True).data
    return Response(body, status=503 if found.status in ("unhealthy", "disabled") else 200)


class UnknownRouteView(APIView):
    """Answers every path that the API does not have."""

    permission_classes = [AllowAny]
    authentication_classes = []
    schema = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound(f"the API has no path {request.path!r}; its paths are listed at /api/absurd/schema")
