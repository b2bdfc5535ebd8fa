"""Runs: list, read, spawn."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.bodies import NewRun
from tasks_app.api.filters import RunFilter
from tasks_app.api.lists import ListView
from tasks_app.api.requests import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    actor_of,
    content_tag,
    idempotency_key_of,
    tagged,
    unchanged,
)
from tasks_app.api.serializers import (
    GraphSerializer,
    RunGraphSerializer,
    RunSerializer,
    ShownRun,
)
from tasks_app.api.views.operations import Answer
from tasks_app.auth.keys import SPAWN
from tasks_app.engine.idempotency import once
from tasks_app.errors import RunNotFound
from tasks_app.models import Run
from tasks_app.operations.runs import CancelCounts, found_run, start
from tasks_app.workflows import registry
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.state import state_of, states_of


def run_id_of(text: str) -> UUID:
    """Return the run id of a path. Raises RunNotFound when it is not one."""
    try:
        return UUID(text)
    except ValueError:
        raise RunNotFound(text[:100]) from None


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
            run, repeated = _started(wanted, actor), False
        else:
            asked = {"params": {}, "label": "", **dict(request.data)}
            run_id, repeated = once(key, asked, caller=actor, make=lambda: _started(wanted, actor).run_id)
            run = found_run(run_id)
        shown = RunSerializer(ShownRun(run=run, state=state_of(run))).data
        address = reverse("absurd_api:Run", kwargs={"run_id": str(run.run_id)})
        return Response(shown, status=200 if repeated else 201, headers={"Location": address})


def _started(wanted: NewRun, actor: str) -> Run:
    plan = wanted.plan
    return start(plan, actor) if plan is not None else registry.start(wanted.workflow, wanted.params, actor=actor)


class _RunView(RetrieveAPIView[Any]):
    def get_object(self) -> ShownRun:
        run = found_run(run_id_of(self.kwargs["run_id"]))
        return ShownRun(run=run, state=state_of(run), graph=graph_of(run))


class RunGraphView(_RunView):
    """The tasks of one run and the edges between them, without the rest."""

    serializer_class = GraphSerializer


@extend_schema_view(get=extend_schema(parameters=[IF_NONE_MATCH]))
class RunView(_RunView):
    """One run with the graph of its tasks."""

    serializer_class = RunGraphSerializer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().retrieve(request, *args, **kwargs)
        tag = content_tag(answer.data)
        return unchanged(request, tag) or tagged(answer, tag)


def _run_data(key: UUID) -> dict[str, Any]:
    run = found_run(key)
    return {"run": RunSerializer(ShownRun(run=run, state=state_of(run))).data}


def _cancelled(key: UUID, counts: CancelCounts | None) -> Response:
    return Response(_run_data(key), status=202 if counts is not None and counts.stopping else 200)


COUNTED = Answer(
    key=run_id_of, response=lambda key, _: Response(_run_data(key)), shapes={200: {"run": RunSerializer()}}
)
CANCELLED = Answer(
    key=run_id_of,
    response=_cancelled,
    shapes={200: {"run": RunSerializer()}, 202: {"run": RunSerializer()}},
    schema={"description": "202: workers have been asked to stop some of its tasks. 200: none is left to be stopped."},
)
