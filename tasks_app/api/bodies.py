"""Bodies that spawn several tasks, or a run."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.options import BATCH_MOST, TaskOptions
from tasks_app.validation import CONFIG, Checked
from tasks_app.workflows.plan import STAGE_NAME_CHARS, TASKS_MOST, All, One, RunPlan, Source, Stage


class Batch(Checked):
    """Tasks that are to be spawned, all or none."""

    tasks: tuple[TaskOptions, ...] = Field(min_length=1, max_length=BATCH_MOST)


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
