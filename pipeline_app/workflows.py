"""The workflow `standard-pipeline`: which tasks a tile needs, and how one's result becomes another's input.

A calibrator's tile: convert → calibration-solve → calibrate-target → imaging → validation → photometry.
A target's tile: calibrate-target (with the calibrator's solution) → imaging → self-calibration (with a second
image where it is better) → validation → photometry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field

from pipeline_app.calibrators import calibrators
from pipeline_app.ingest.register import Tile, tile_of
from pipeline_app.models import Observation, ObservationState
from pipeline_app.registration import CALIBRATE, CONVERT, IMAGING, PHOTOMETRY, SELF_CALIBRATION, SOLVE, VALIDATION
from pipeline_app.stages.calibration_solve import MAX_FIELD_SOURCES, FieldSource
from pipeline_app.stages.photometry import IMAGE_FIELDS, Position
from pipeline_app.telescope import REFERENCE_FREQ_HZ, angular_separation_deg, power_beam
from tasks_app.engine.bindings import Binding
from tasks_app.engine.handler import InvalidInput
from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Run
from tasks_app.models.task import new_task_id
from tasks_app.workflows.registry import WorkflowSpec, register

WORKFLOW = "standard-pipeline"
PRIORITY_CALIBRATOR = 10
"""Every target of the strip waits for it."""
PRIORITY_TARGET = 5
MIN_RESPONSE = 0.1
"""Calibrators seen with less of the primary beam than this are not measured."""
CATALOG_KEPT_WHOLE = 2000
"""Larger catalogues are cut to what is near the pointing, so that params stay small."""
CATALOG_RADIUS_DEG = 3.2
"""The first null of the primary beam: nothing beyond it is measured."""

Role = Literal["calibrator", "target"]


class AlreadyStarted(Exception):
    """Another process has started the tile's run."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A tile and where its calibration comes from: its own solve, another's task, or a published directory."""

    tile: Tile
    role: Role
    solve_task_id: UUID | None = None
    calibration_path: str | None = None
    other_solve_task_id: UUID | None = None
    other_calibration_path: str | None = None
    """A second calibration, on the other side in time: gains are interpolated between the two."""

    @classmethod
    def calibrator(cls, tile: Tile) -> Plan:
        """A tile that is calibrated on the calibrator it holds."""
        return cls(tile=tile, role="calibrator", solve_task_id=new_task_id())


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen for a run."""

    catalog: tuple[Position, ...] | None = None
    """Where to measure; None: the known calibrators in the beam, and no photometry where there are none."""
    stage_params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further params by task name."""
    queue_name: str | None = None


def start(plans: Sequence[Plan], options: Options, *, actor: str, again: bool = True) -> list[Run]:
    """Create one run a plan, with all their tasks, in one transaction; calibrators must come with their targets.

    Raises AlreadyStarted when `again` is false and a tile has a run, and what spawn_many raises.
    """
    with transaction.atomic():
        keys = [plan.tile.observation.pk for plan in plans]
        locked = {o.pk: o for o in Observation.objects.select_for_update().filter(pk__in=keys).order_by("pk")}
        requests: list[NewTask] = []
        runs: list[Run] = []
        for plan in sorted(plans, key=lambda plan: plan.role != "calibrator"):
            observation = locked[plan.tile.observation.pk]
            if observation.run_id is not None and not again:
                raise AlreadyStarted(observation.name)
            run = _create_run(plan, options, actor)
            runs.append(run)
            requests.extend(requests_of(plan, run, options))
            observation.run_id, observation.role = run.run_id, plan.role
            observation.state, observation.reason = ObservationState.STARTED, ""
            observation.save(update_fields=["run_id", "role", "state", "reason"])
        spawn_many(requests, actor=actor)
    return runs


def _create_run(plan: Plan, options: Options, actor: str) -> Run:
    observation = plan.tile.observation
    return Run.objects.create(
        workflow=WORKFLOW,
        label=observation.name,
        created_by=actor,
        params={
            "observation_id": observation.pk,
            "role": plan.role,
            "paths": list(plan.tile.paths),
            "stage_params": {name: dict(params) for name, params in options.stage_params.items()},
        },
    )


def requests_of(plan: Plan, run: Run, options: Options) -> list[NewTask]:
    """Return the tasks of one tile, wired by bindings."""
    calibrate, imaging = new_task_id(), new_task_id()
    raw = {"paths": list(plan.tile.paths), "name": plan.tile.observation.name}
    chain: list[tuple[str, UUID, dict[str, Any], dict[str, Binding]]] = []
    if plan.role == "calibrator" and plan.solve_task_id:
        convert = new_task_id()
        field = field_sources_for(plan.tile.observation, options.catalog)
        modelled = {"field_sources": [source.model_dump() for source in field]}
        chain.append((CONVERT, convert, raw, {}))
        chain.append((SOLVE, plan.solve_task_id, modelled, {"ms_path": Binding(task_id=convert, field="ms_path")}))
    chosen: dict[str, Any] = {}
    solved: dict[str, Binding] = {}
    for name, path, task_id in (
        ("calibration_path", plan.calibration_path, plan.solve_task_id),
        ("other_calibration_path", plan.other_calibration_path, plan.other_solve_task_id),
    ):
        if path is not None:
            chosen[name] = path
        elif task_id is not None:
            solved[name] = Binding(task_id=task_id, field="calibration_path")
    chain.append((CALIBRATE, calibrate, raw | chosen, solved))
    calibrated = {"ms_path": Binding(task_id=calibrate, field="ms_path")}
    chain.append((IMAGING, imaging, {}, calibrated))
    images = {name: Binding(task_id=imaging, field=name) for name in IMAGE_FIELDS}
    records: dict[str, Binding] = {}
    if plan.role == "target":
        again = new_task_id()
        first_imaging = {"imaging": dict(options.stage_params.get(IMAGING, {}))}
        chain.append((SELF_CALIBRATION, again, first_imaging, calibrated | images))
        images = {name: Binding(task_id=again, field=name) for name in IMAGE_FIELDS}
        records = {"self_calibration_path": Binding(task_id=again, field="record_path")}
    positions = positions_for(plan.tile.observation, plan.role, options.catalog)
    if positions:
        where = {"positions": [position.model_dump() for position in positions]}
        validation = new_task_id()
        chain.append((VALIDATION, validation, where, images | records))
        validated = {"validation_path": Binding(task_id=validation, field="record_path")}
        chain.append((PHOTOMETRY, new_task_id(), where, images | validated))
    return [
        NewTask.of(
            task_name=name,
            task_id=task_id,
            params=params | dict(options.stage_params.get(name, {})),
            bindings=bindings,
            queue_name=options.queue_name,
            priority=PRIORITY_CALIBRATOR if plan.role == "calibrator" else PRIORITY_TARGET,
            run=run,
            stage=name,
        )
        for name, task_id, params, bindings in chain
    ]


def positions_for(observation: Observation, role: Role, catalog: Sequence[Position] | None) -> list[Position]:
    """Return where to measure in a tile: the catalogue's positions, or else the known calibrators in the beam.

    A calibrator's tile far from every position of the catalogue has nothing to measure. A target's tile in that case is
    measured all the same, for the verdict to say that nothing lies inside.
    """
    if catalog is None:
        return _calibrators_in_beam(observation)
    separation_deg = angular_separation_deg(
        [p.ra_deg for p in catalog], [p.dec_deg for p in catalog], observation.ra_deg, observation.dec_deg
    )
    near = [position for position, apart in zip(catalog, separation_deg, strict=True) if apart <= CATALOG_RADIUS_DEG]
    if role == "calibrator" and not near:
        return []
    return list(catalog) if len(catalog) <= CATALOG_KEPT_WHOLE else near or list(catalog[:1])


def field_sources_for(observation: Observation, catalog: Sequence[Position] | None) -> list[FieldSource]:
    """Return the catalogue's sources around a calibrator whose flux is known, those seen brightest first."""
    known = [position for position in catalog or () if position.flux_jy]
    if not known:
        return []
    separation_deg = angular_separation_deg(
        [p.ra_deg for p in known], [p.dec_deg for p in known], observation.ra_deg, observation.dec_deg
    )
    near = [position for position, apart in zip(known, separation_deg, strict=True) if apart <= CATALOG_RADIUS_DEG]
    near.sort(key=lambda position: -_apparent_flux_jy(position, observation))
    return [
        FieldSource(name=p.name, ra_deg=p.ra_deg % 360, dec_deg=p.dec_deg, flux_jy=p.flux_jy)
        for p in near[:MAX_FIELD_SOURCES]
    ]


def _apparent_flux_jy(position: Position, observation: Observation) -> float:
    offset_deg = angular_separation_deg(position.ra_deg, position.dec_deg, observation.ra_deg, observation.dec_deg)
    return (position.flux_jy or 0.0) * float(power_beam(offset_deg, REFERENCE_FREQ_HZ))


def _calibrators_in_beam(observation: Observation) -> list[Position]:
    known = ((c, c.offset_deg(observation.ra_deg, observation.dec_deg)) for c in calibrators())
    return [
        Position(name=c.name, ra_deg=c.ra_deg, dec_deg=c.dec_deg, flux_jy=c.flux_jy)
        for c, offset_deg in known
        if offset_deg < CATALOG_RADIUS_DEG and float(power_beam(offset_deg, REFERENCE_FREQ_HZ)) >= MIN_RESPONSE
    ]


class StandardPipelineParams(BaseModel):
    """Which observation, and what is to be different."""

    model_config = ConfigDict(extra="forbid")
    observation_id: int = Field(ge=1, lt=2**63, description="An observation that the ingest has registered")
    stage_params: dict[str, dict[str, Any]] = Field(
        {}, description='Further params by task name, as {"imaging": {"niter": 500}}'
    )
    queue_name: str | None = Field(None, description="Default: ABSURD_QUEUE_NAME")


def start_observation(params: StandardPipelineParams, actor: str) -> Run:
    """Start a run of one observation, also of one that has had a run before.

    Raises ParamsInvalid, also when no calibrator is to be had for it.
    """
    # Here, because these modules make plans of this one.
    from pipeline_app.calibration_choice import plan_single
    from pipeline_app.ingest.watch import check_stage_params

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
            name=WORKFLOW,
            params_model=StandardPipelineParams,
            start=start_observation,
            description="From the raw files of one observation to calibrated images and fluxes",
        )
    )
