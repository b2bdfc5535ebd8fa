"""Runs: list, look at, spawn, cancel, retry."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.bodies import body_of
from tasks_app.api.etags import IF_NONE_MATCH, content_tag, tagged, unchanged
from tasks_app.api.filters import RunFilter
from tasks_app.api.lists import ListView
from tasks_app.api.run_serializers import (
    GraphSerializer,
    RunCancelledSerializer,
    RunGraphSerializer,
    RunRetriedSerializer,
    RunRetrySerializer,
    RunSerializer,
    RunVerbSerializer,
    ShownRun,
)
from tasks_app.api.spawn_bodies import NewRun
from tasks_app.api.views.request import IDEMPOTENCY_KEY, actor_of, idempotency_key_of
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


@extend_schema_view(get=extend_schema(operation_id="list_runs"))
class RunListView(ListView):
    """The runs, newest first."""

    needs = {"POST": SPAWN}
    queryset = Run.objects.all()
    filterset_class = RunFilter
    serializer_class = RunSerializer
    list_name = "runs"

    def paginate_queryset(self, queryset: Any) -> Any:
        runs: Any = super().paginate_queryset(queryset)
        states = states_of(runs)
        return [ShownRun(run=run, state=states[run.run_id]) for run in runs]

    @extend_schema(
        operation_id="spawn_run",
        parameters=[IDEMPOTENCY_KEY],
        request=NewRun,
        responses={201: RunSerializer, 200: RunSerializer},
        description=(
            "A run of a registered workflow by its params, or a run given by its stages. "
            "200: the Idempotency-Key was used before, and this is the run created then."
        ),
    )
    def post(self, request: Request) -> Response:
        wanted, actor = NewRun.model_validate(request.data or {}), actor_of(request)
        key = idempotency_key_of(request)
        if key is None:
            run, repeated = _begun(wanted, actor), False
        else:
            asked = {"params": {}, "label": "", **dict(request.data)}
            run_id, repeated = once(key, asked, caller=actor, make=lambda: _begun(wanted, actor).run_id)
            run = found_run(run_id)
        told = RunSerializer(ShownRun(run=run, state=state_of(run))).data
        address = reverse("absurd_api:Run", kwargs={"run_id": str(run.run_id)})
        return Response(told, status=200 if repeated else 201, headers={"Location": address})


def _begun(wanted: NewRun, actor: str) -> Run:
    plan = wanted.plan
    return start(plan, actor) if plan is not None else registry.start(wanted.workflow, wanted.params, actor=actor)


class _RunView(RetrieveAPIView[Any]):
    def get_object(self) -> ShownRun:
        run = found_run(run_id_of(self.kwargs["run_id"]))
        return ShownRun(run=run, state=state_of(run), graph=graph_of(run))


@extend_schema_view(get=extend_schema(operation_id="get_run_graph"))
class RunGraphView(_RunView):
    """The tasks of one run and the edges between them, without the rest."""

    serializer_class = GraphSerializer


@extend_schema_view(get=extend_schema(operation_id="get_run", parameters=[IF_NONE_MATCH]))
class RunView(_RunView):
    """One run with the graph of its tasks."""

    serializer_class = RunGraphSerializer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().retrieve(request, *args, **kwargs)
        tag = content_tag(answer.data)
        return unchanged(request, tag) or tagged(answer, tag)


def _told(run_id: str, counts: Any, *, dry_run: bool) -> dict[str, Any]:
    run = found_run(run_id_of(run_id))
    told = RunSerializer(ShownRun(run=run, state=state_of(run))).data
    return {"dry_run": dry_run, "counts": asdict(counts), "run": told}


class RunCancelView(APIView):
    """Cancels what has not finished."""

    needs = {"POST": CANCEL_RUN}

    @extend_schema(
        operation_id="cancel_run",
        request=RunVerbSerializer,
        responses={200: RunCancelledSerializer, 202: RunCancelledSerializer},
        description="202: workers have been asked to stop some of its tasks. 200: no task is left to stop.",
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
