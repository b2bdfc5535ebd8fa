"""Operations on the whole system, and whether it is frozen."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.operation_serializers import FreezeSerializer, SystemStateSerializer
from tasks_app.api.system_serializers import AcknowledgementSerializer
from tasks_app.api.views.operations import Answer
from tasks_app.models import Freeze
from tasks_app.operations.system import current_freeze


def _freeze(frozen: Freeze | None) -> Response:
    if frozen is None:
        return Response(FreezeSerializer({"frozen": False}).data)
    fields = {"frozen_at": frozen.frozen_at, "frozen_by": frozen.frozen_by, "reason": frozen.reason}
    return Response(FreezeSerializer({"frozen": True, **fields}).data)


class FreezeStateView(APIView):
    """Whether everything is frozen; POST freezes it."""

    @extend_schema(operation_id="get_freeze", responses=FreezeSerializer)
    def get(self, request: Request) -> Response:
        return _freeze(current_freeze())


def _no_key() -> None:
    return None


def _emergency(_key: None, _counts: Any) -> Response:
    return Response({"frozen": current_freeze() is not None})


_FROZEN = {"frozen": serializers.BooleanField(help_text="Whether everything is frozen now.")}
FREEZE = Answer(key=_no_key, response=lambda _key, _: _freeze(current_freeze()), shapes={200: FreezeSerializer})
STATE = Answer(
    key=_no_key,
    response=lambda _, state: Response(SystemStateSerializer(state).data),
    shapes={200: SystemStateSerializer},
)
ACKNOWLEDGED = Answer(
    key=_no_key,
    response=lambda _, seen: Response(AcknowledgementSerializer(seen).data),
    shapes={200: AcknowledgementSerializer},
)
EMERGENCY = Answer(key=_no_key, response=_emergency, shapes={200: _FROZEN})
