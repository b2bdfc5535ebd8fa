"""Bodies of requests: JSON objects that can be stored; those that spawn one task, several, or a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from tasks_app.api.requests import idempotency_key_of
from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import BATCH_MOST
from tasks_app.validation import CONFIG, Checked
from tasks_app.workflows.plan import STAGE_NAME_CHARS, TASKS_MOST, All, One, RunPlan, Source, Stage

BODY_BYTES_MOST = 1_000_000
DEPTH_MOST = 50


class BodyTooLarge(APIException):
    """The body is larger than any task's params may be."""

    status_code = 413
    default_code = "body_too_large"
    default_detail = f"the body is larger than {BODY_BYTES_MOST} bytes"


class JsonObjectParser(BaseParser):
    """Parses a JSON object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object. Raises ParseError, or BodyTooLarge."""
        raw = stream.read(BODY_BYTES_MOST + 1)
        if len(raw) > BODY_BYTES_MOST:
            raise BodyTooLarge
        try:
            body = json.loads(raw.decode(), parse_constant=_refuse_constant)
        except RecursionError:
            raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels") from None
        except ValueError as error:
            raise ParseError(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise ParseError("the body must be a JSON object")
        _check_storable(body, 1)
        return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check_storable(value: Any, depth: int) -> None:
    if depth > DEPTH_MOST:
        raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ParseError("a number is too large to be stored")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check_storable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(inner, depth + 1)


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("a text contains a NUL character or half a surrogate pair, which cannot be stored")


def options_of(request: Request) -> TaskOptions:
    """Return the options in the body; the header's idempotency key counts where the body has none."""
    body, key = request.data or {}, idempotency_key_of(request)
    return TaskOptions.model_validate({"idempotency_key": key, **body} if key and isinstance(body, dict) else body)


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
