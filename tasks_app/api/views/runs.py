"""Runs: list, look at, spawn, cancel, retry."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.caching import IF_NONE_MATCH, content_tag, tagged, unchanged
from tasks_app.api.filters import RunFilter, narrowed, parameters
from tasks_app.api.pagination import paged
from tasks_app.api.plan_serializers import RunSpawnSerializer, plan_of
from tasks_app.api.run_serializers import (
    GraphSerializer,
    RunCancelledSerializer,
    RunGraphSerializer,
    RunListSerializer,
    RunRetriedSerializer,
    RunRetrySerializer,
    RunSerializer,
    RunVerbSerializer,
)
from tasks_app.api.shown import Shown
from tasks_app.api.views.request import IDEMPOTENCY_KEY, actor_of, body_of, idempotency_key_of
from tasks_app.auth.requirements import CANCEL_RUN, RETRY_RUN, SPAWN
from tasks_app.engine.idempotency import once
from tasks_app.errors import RunNotFound
from tasks_app.models import Run
from tasks_app.operations.run_retry import retry_run
from tasks_app.operations.runs import cancel_run, found_run, start
from tasks_app.workflows import registry
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.state import state_of, states_of


def run_id_of(text: str) -> UUID:
    """Return the run id of a path. Raises RunNotFound when it is not one."""
    try:
        return UUID(text)
    except ValueError:
        raise RunNotFound(text[:100]) from None


class RunListView(APIView):
    """The runs, newest first, and the way in for new ones."""

    needs = {"POST": SPAWN}

    @extend_schema(
        operation_id="list_runs",
        parameters=parameters(RunFilter),
        responses=RunListSerializer,
    )
    def get(self, request: Request) -> Response:
        found, following = paged(narrowed(RunFilter, Run.objects.all(), request), request)
        states = states_of(found)
        shown = [Shown(run=run, state=states[run.run_id]) for run in found]
        return Response({"runs": RunSerializer(shown, many=True).data, "next": following})

    @extend_schema(
        operation_id="spawn_run",
        parameters=[IDEMPOTENCY_KEY],
        request=RunSpawnSerializer,
        responses={201: RunSerializer, 200: RunSerializer},
        description=(
            "A run of a registered workflow by its params, or one of one's own by its stages. "
            "200: the Idempotency-Key was used before, and this is the run that it began."
        ),
    )
    def post(self, request: Request) -> Response:
        wanted, actor, key = body_of(request, RunSpawnSerializer), actor_of(request), idempotency_key_of(request)
        if key is None:
            run, repeated = _begun(wanted, actor), False
        else:
            asked = {"params": {}, "label": "", **dict(request.data)}
            run_id, repeated = once(key, asked, caller=actor, make=lambda: _begun(wanted, actor).run_id)
            run = found_run(run_id)
        told = RunSerializer(Shown(run=run, state=state_of(run))).data
        address = reverse("absurd_api:Run", kwargs={"run_id": str(run.run_id)})
        return Response(told, status=200 if repeated else 201, headers={"Location": address})


def _begun(wanted: dict[str, Any], actor: str) -> Run:
    if "stages" in wanted:
        return start(plan_of(wanted), actor)
    return registry.start(wanted["workflow"], wanted["params"], actor=actor)


class RunGraphView(APIView):
    """The tasks of one run and the edges between them, without the rest."""

    @extend_schema(operation_id="get_run_graph", responses=GraphSerializer)
    def get(self, request: Request, run_id: str) -> Response:
        run = found_run(run_id_of(run_id))
        return Response(GraphSerializer(Shown(run=run, state=state_of(run), graph=graph_of(run))).data)


class RunView(APIView):
    """One run with the graph of its tasks."""

    @extend_schema(operation_id="get_run", parameters=[IF_NONE_MATCH], responses=RunGraphSerializer)
    def get(self, request: Request, run_id: str) -> Response:
        run = found_run(run_id_of(run_id))
        told = Response(RunGraphSerializer(Shown(run=run, state=state_of(run), graph=graph_of(run))).data)
        tag = content_tag(told.data)
        return unchanged(request, tag) or tagged(told, tag)


def _told(run_id: str, counts: Any, *, dry_run: bool) -> dict[str, Any]:
    run = found_run(run_id_of(run_id))
    told = RunSerializer(Shown(run=run, state=state_of(run))).data
    return {"dry_run": dry_run, "counts": asdict(counts), "run": told}


class RunCancelView(APIView):
    """Cancels what has not finished."""

    needs = {"POST": CANCEL_RUN}

    @extend_schema(
        operation_id="cancel_run",
        request=RunVerbSerializer,
        responses={200: RunCancelledSerializer, 202: RunCancelledSerializer},
        description="202: workers have been asked to stop some of its tasks. 200: nothing is left to be stopped.",
    )
    def post(self, request: Request, run_id: str) -> Response:
        wanted = body_of(request, RunVerbSerializer)
        counts = cancel_run(run_id_of(run_id), actor=actor_of(request), **wanted)
        still_stopping = counts.stopping and not wanted["dry_run"]
        return Response(_told(run_id, counts, dry_run=wanted["dry_run"]), status=202 if still_stopping else 200)


class RunRetryView(APIView):
    """Another go for what failed or was cancelled, or for everything from a stage on."""

    needs = {"POST": RETRY_RUN}

    @extend_schema(operation_id="retry_run", request=RunRetrySerializer, responses=RunRetriedSerializer)
    def post(self, request: Request, run_id: str) -> Response:
        wanted = body_of(request, RunRetrySerializer)
        counts = retry_run(run_id_of(run_id), actor=actor_of(request), **wanted)
        return Response(_told(run_id, counts, dry_run=wanted["dry_run"]))
