"""The emergency stop."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.bodies import body_of
from tasks_app.api.serializers import FreezeSerializer, ReasonSerializer, StopSerializer
from tasks_app.api.views.request import actor_of
from tasks_app.auth.requirements import FREEZE
from tasks_app.models import Freeze
from tasks_app.operations import freeze


def _told(found: Freeze | None) -> Response:
    if found is None:
        return Response(FreezeSerializer({"frozen": False}).data)
    fields = {"frozen_at": found.frozen_at, "frozen_by": found.frozen_by, "reason": found.reason}
    return Response(FreezeSerializer({"frozen": True, **fields}).data)


class FreezeView(APIView):
    """Whether everything is frozen; POST freezes it: nothing is claimed any more, what runs goes on."""

    needs = {"POST": FREEZE}

    @extend_schema(operation_id="get_freeze", responses=FreezeSerializer)
    def get(self, request: Request) -> Response:
        return _told(freeze.current())

    @extend_schema(operation_id="freeze", request=StopSerializer, responses=FreezeSerializer)
    def post(self, request: Request) -> Response:
        return _told(freeze.freeze(actor=actor_of(request), reason=body_of(request, StopSerializer)["reason"]))


class ThawView(APIView):
    """Lets tasks be claimed again."""

    needs = {"POST": FREEZE}

    @extend_schema(operation_id="thaw", request=ReasonSerializer, responses=FreezeSerializer)
    def post(self, request: Request) -> Response:
        freeze.thaw(actor=actor_of(request), reason=body_of(request, ReasonSerializer)["reason"])
        return _told(None)
