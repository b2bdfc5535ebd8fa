"""The standard pipeline as a workflow that anybody who may spawn can begin by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import ParamsInvalid
from tasks_app.workflows.registry import WorkflowSpec, register

if TYPE_CHECKING:
    from tasks_app.models import Run

NAME = "standard-pipeline"


class StandardPipelineParams(BaseModel):
    """Which observation, and what is to be different."""

    model_config = ConfigDict(extra="forbid")
    observation_id: Annotated[int, Field(ge=1, lt=2**63, description="An observation that the ingest has registered")]
    stage_params: Annotated[
        dict[str, dict[str, Any]], Field(description='Further params by task name, as {"imaging": {"niter": 500}}')
    ] = {}
    queue_name: Annotated[str | None, Field(description="Default: ABSURD_QUEUE_NAME")] = None


def begin(params: StandardPipelineParams, actor: str) -> Run:
    """Begin a run of one observation, also of one that has had a run before.

    Raises ParamsInvalid, also when no calibrator is to be had for it.
    """
    # Here, because every process registers the workflow, and planning loads astropy.
    from pipeline_app.calibration_choice import plan_single
    from pipeline_app.ingest import tile_of
    from pipeline_app.models import Observation
    from pipeline_app.watching import check_stage_params
    from pipeline_app.workflows import Options, start

    observation = Observation.objects.filter(pk=params.observation_id).first()
    if observation is None:
        raise _refused("observation_id", f"there is no observation {params.observation_id}")
    tile = tile_of(observation)
    if not tile.paths:
        raise _refused("observation_id", f"{observation} has no usable files")
    plan = plan_single(tile)
    if plan is None:
        raise _refused("observation_id", f"no calibrator in the beam of {observation}, and none solved within a day")
    try:
        stage_params = check_stage_params(params.stage_params, "stage_params")
    except InvalidInput as error:
        raise _refused("stage_params", str(error)) from None
    (run,) = start([plan], Options(stage_params=stage_params, queue_name=params.queue_name), actor=actor)
    return run


def _refused(field: str, message: str) -> ParamsInvalid:
    return ParamsInvalid([{"path": f"params.{field}", "message": message}])


def register_workflow() -> None:
    """Make the workflow known."""
    register(
        WorkflowSpec(
            name=NAME,
            params_model=StandardPipelineParams,
            start=begin,
            description="From the raw files of one observation to calibrated images and fluxes",
        )
    )
