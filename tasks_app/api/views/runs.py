"""Runs: list, read, spawn."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.lists import ListView, RunFilter
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
from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.idempotency import once
from tasks_app.engine.options import TaskOptions
from tasks_app.errors import RunNotFound
from tasks_app.models import Run
from tasks_app.operations.runs import CancelCounts, found_run, start
from tasks_app.validation import CONFIG, Checked
from tasks_app.workflows import registry
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.plan import STAGE_NAME_CHARS, TASKS_MOST, All, One, RunPlan, Source, Stage
from tasks_app.workflows.state import state_of, states_of


class TakenFrom(BaseModel):
    """Where a param comes from: a stage's result, of one task or of all, or the result of a task of another run."""

    model_config = CONFIG

    field: str = Field(min_length=1, max_length=200, description="The field of the result.")
    stage: str | None = Field(default=None, max_length=STAGE_NAME_CHARS)
    all: bool = Field(default=False, strict=True, description="The list of all the stage's tasks.")
    task_id: UUID | None = None
    task_ids: tuple[UUID, ...] | None = Field(default=None, max_length=1000)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.stage, self.task_id, self.task_ids)) != 1:
            raise ValueError("give exactly one of stage, task_id and task_ids")
        return self

    @property
    def source(self) -> Source:
        """The same as plans have it."""
        if self.task_id is not None:
            return Binding(task_id=self.task_id, field=self.field)
        if self.task_ids is not None:
            return Gather(task_ids=self.task_ids, field=self.field)
        return (All if self.all else One)(self.stage or "", self.field)


class RunStage(TaskOptions):
    """One step of a run: a task, or as many as it fans out into, with the options of each."""

    name: str = Field(min_length=1, max_length=STAGE_NAME_CHARS)
    after: tuple[str, ...] = Field(default=(), max_length=TASKS_MOST, description="Stages to wait for.")
    bindings: dict[str, TakenFrom] = Field(default_factory=dict, description="Params taken from results, by param.")
    fan_out: tuple[dict[str, Any], ...] | None = Field(
        default=None, max_length=TASKS_MOST, description="The params of each task; absent: it is one task."
    )

    @property
    def stage(self) -> Stage:
        """The same as plans have it."""
        bindings = {name: each.source for name, each in self.bindings.items()}
        return Stage(name=self.name, options=self, after=self.after, bindings=bindings, fan_out=self.fan_out)


class NewRun(Checked):
    """A registered workflow with its params, or a run of one's own with its stages."""

    workflow: str = Field(min_length=1, max_length=100)
    params: dict[str, Any] = Field(default_factory=dict)
    stages: tuple[RunStage, ...] | None = Field(
        default=None, max_length=TASKS_MOST, description="Default: those of the registered workflow."
    )
    label: str = Field(default="", max_length=200, description="What the run is for; only with stages.")

    @field_validator("label")
    @classmethod
    def _label_is_of_stages(cls, label: str, info: ValidationInfo) -> str:
        if label and info.data.get("stages", ()) is None:
            raise ValueError("is only allowed with stages")
        return label

    @property
    def plan(self) -> RunPlan | None:
        """The plan of a run with stages of its own."""
        if self.stages is None:
            return None
        return RunPlan(self.workflow, label=self.label, params=self.params, stages=[each.stage for each in self.stages])


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
