"""The emergency stop in one go, and the way back: first looked at, then done with the token of that look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import confirming
from tasks_app.api.bodies import body_of
from tasks_app.api.emergency_serializers import (
    EmergencyRecoverySerializer,
    EmergencyStopSerializer,
    RecoveredSerializer,
    StoppedSerializer,
)
from tasks_app.api.filters import tasks_that_fit
from tasks_app.api.lists import OPERATION_SEC, bounded
from tasks_app.api.views.request import actor_of
from tasks_app.auth.requirements import EMERGENCY
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Task
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.operations import emergency
from tasks_app.operations.freeze import current
from tasks_app.postgresql import clock

STOP, RECOVER = "tasks_app.emergency_stop", "tasks_app.emergency_recover"
WISHES = ("cancel_pending", "stop_running", "drain_workers")


class EmergencyStopView(APIView):
    """Freezes everything and, as wished, ends what runs, cancels what waits and drains the workers."""

    needs = {"POST": EMERGENCY}

    @extend_schema(
        operation_id="emergency_stop",
        request=EmergencyStopSerializer,
        responses=StoppedSerializer,
        description=(
            "A dry run, which is the default, counts and returns a token; the same request with that token and "
            "`dry_run: false` does it. It is refused with 409 when more than a tenth and more than two tasks match "
            "in addition since the dry run. To freeze only, at once, use `POST freeze`."
        ),
    )
    def post(self, request: Request) -> Response:
        wanted, actor = body_of(request, EmergencyStopSerializer), actor_of(request)
        wish = emergency.StopWish(**{name: wanted[name] for name in WISHES})
        there, agreed = emergency.stop_preview(), {**asdict(wish), "caller": actor}
        count = wish.cancel_pending * there.pending + wish.stop_running * there.running
        if wanted["dry_run"]:
            told = {**asdict(there), "token": confirming.token_of(STOP, agreed, count)}
        else:
            confirming.check(STOP, wanted["token"], agreed, count)
            told = asdict(emergency.stop(wish, actor=actor, reason=wanted["reason"], limit_sec=OPERATION_SEC))
        return Response(StoppedSerializer(_with_state(told, wanted)).data)


class EmergencyRecoveryView(APIView):
    """Retries what is wished, lets paused workers resume, and thaws last."""

    needs = {"POST": EMERGENCY}

    @extend_schema(
        operation_id="emergency_recover",
        request=EmergencyRecoverySerializer,
        responses=RecoveredSerializer,
        description="Repair the cause first. Dry run and token work as with the emergency stop.",
    )
    def post(self, request: Request) -> Response:
        wanted, actor = body_of(request, EmergencyRecoverySerializer), actor_of(request)
        failed, cancelled = _failed(wanted), _cancelled(wanted)
        with bounded():
            there = emergency.recover_preview(failed, cancelled)
        said = {name: wanted[name] for name in ("retry_failed", "filter", "retry_cancelled")}
        agreed = {**said, "since": clock.stamp(wanted["since"]) if wanted["since"] else None, "caller": actor}
        count = there.failed + there.cancelled
        if wanted["dry_run"]:
            told = {**asdict(there), "token": confirming.token_of(RECOVER, agreed, count)}
        else:
            confirming.check(RECOVER, wanted["token"], agreed, count)
            done = emergency.recover(failed, cancelled, actor=actor, reason=wanted["reason"], limit_sec=OPERATION_SEC)
            told = asdict(done)
        return Response(RecoveredSerializer(_with_state(told, wanted)).data)


def _with_state(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {**told, "dry_run": wanted["dry_run"], "frozen": current() is not None}


def _failed(wanted: Mapping[str, Any]) -> TaskQuerySet:
    if not wanted["retry_failed"]:
        return Task.objects.none()
    return tasks_that_fit({**wanted["filter"], "status": "failed"})


def _cancelled(wanted: Mapping[str, Any]) -> list[UUID]:
    if not wanted["retry_cancelled"]:
        return []
    frozen = current()
    since: datetime | None = wanted["since"] or (frozen.frozen_at if frozen else None)
    if since is None:
        raise ParamsInvalid([{"path": "since", "message": "nothing is frozen: give the time of the emergency stop"}])
    return emergency.cancelled_by_stop(since)
