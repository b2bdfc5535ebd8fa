"""The page of one observation: everything that the pipeline did to it, in one scroll."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet

from pipeline_app.admin import product_files
from pipeline_app.admin.metrics_text import Figure, figures_of
from pipeline_app.models import (
    Calibration,
    Measurement,
    Observation,
    ObservationState,
    Product,
    SubbandFile,
    SubbandState,
)
from pipeline_app.registration import STAGES as REGISTERED
from tasks_app.models import Run, Task

FLUXES_MOST = 300
PRODUCTS_MOST = 500
STRIP_TOLERANCE_DEG = 0.05
"""Pointings this close in declination are of one strip."""
PLOTS = ("plot", "preview")
STAGES = {spec.name for spec in REGISTERED} | {"calibration"}
"""What a reason that was handed on begins with."""
SHORT = {
    "convert-uvh5-to-ms": "convert",
    "calibration-solve": "solve",
    "calibration-apply": "apply",
    "calibrate-target": "calibrate",
    "self-calibration": "self-calibrate",
}


MADE = {
    "ms": "Measurement Set",
    "calibration": "solutions",
    "calibrated-ms": "calibrated data",
    "self-calibrated-ms": "calibrated data",
    "image": "image",
    "photometry": "fluxes",
}
"""The products that lead from raw files to fluxes; a stage makes one of them at most that is read further."""


@dataclass(kw_only=True)
class Stage:
    """One stage of the last run: its task, if that is still there, and what it made."""

    name: str
    task: Any = None
    verdict: str = ""
    reasons: list[str] = field(default_factory=list)
    """Its own."""
    inherited: list[str] = field(default_factory=list)
    """Of the stages before it."""
    figures: list[Figure] = field(default_factory=list)
    plots: list[Product] = field(default_factory=list)
    image: Product | None = None
    made: Product | None = None
    """The product that the next stages read, or the last result."""

    @property
    def made_name(self) -> str:
        """What that product is."""
        return MADE[self.made.kind] if self.made else ""

    @property
    def short(self) -> str:
        """Its name, where there is little space."""
        return SHORT.get(self.name, self.name)


@dataclass(frozen=True, kw_only=True)
class Subband:
    """One of the files that a tile should have."""

    number: int
    state: str
    """accepted or missing."""
    path: str = ""


def same_strip(rows: QuerySet[Any], observation: Observation, prefix: str = "") -> QuerySet[Any]:
    """Narrow rows to those of the strip of an observation; `prefix` leads from them to their observation."""
    near = (observation.declination_deg - STRIP_TOLERANCE_DEG, observation.declination_deg + STRIP_TOLERANCE_DEG)
    return rows.filter(**{f"{prefix}declination_deg__range": near})


def state_of(observation: Observation, statuses: Collection[str]) -> str:
    """Return how far an observation has come: its own state until its run has started, then that of the run's tasks."""
    if observation.state != ObservationState.STARTED or not statuses:
        return str(observation.state)
    if bad := next((state for state in ("quarantined", "failed", "stalled") if state in statuses), ""):
        return bad
    ended = set(statuses) <= {"completed", "cancelled"}
    return ("cancelled" if "cancelled" in statuses else "completed") if ended else "running"


def neighbours(observation: Observation) -> tuple[Observation | None, Observation | None]:
    """Return the observations of the strip before and after one."""
    strip = same_strip(Observation.objects.exclude(pk=observation.pk), observation)
    before = strip.filter(start_mjd__lte=observation.start_mjd).order_by("-start_mjd").first()
    return before, strip.filter(start_mjd__gt=observation.start_mjd).order_by("start_mjd").first()


def subbands(observation: Observation, files: list[SubbandFile]) -> list[Subband]:
    """Return a cell for each subband that is expected, or was found."""
    held = {
        file.subband: file.path for file in files if file.state == SubbandState.ACCEPTED and file.subband is not None
    }
    numbers = range(observation.expected_subbands or 0) if observation.expected_subbands else sorted(held)
    return [
        Subband(number=number, state="accepted" if number in held else "missing", path=held.get(number, ""))
        for number in numbers
    ]


def stages(run_id: UUID, products: list[Product]) -> list[Stage]:
    """Return the stages of a run in order; of results only verdict and reasons are read."""
    tasks = (
        Task.objects.filter(run__run_id=run_id)
        .defer("params", "result", "bindings")
        .annotate(found_verdict=F("result__verdict"), found_reasons=F("result__reasons"))
        .order_by("id")
    )
    made: dict[UUID, list[Product]] = defaultdict(list)
    for product in products:
        made[product.task_id].append(product)
    found = []
    for task in tasks:
        reasons = task.found_reasons if isinstance(task.found_reasons, list) else []
        shown = Stage(
            name=task.task_name,
            task=task,
            verdict=task.found_verdict or "",
            reasons=[reason for reason in reasons if not _is_inherited(reason)],
            inherited=[reason for reason in reasons if _is_inherited(reason)],
        )
        found.append(_filled(shown, made.pop(task.task_id, [])))
    archived = [_filled(Stage(name=rows[0].task_name), rows) for rows in made.values()]
    return [*archived, *found]


def _is_inherited(reason: str) -> bool:
    """Whether a reason begins with the name of the stage that it comes from, as stages hand them on."""
    return reason.split(":", 1)[0] in STAGES


def _filled(stage: Stage, products: list[Product]) -> Stage:
    for product in products:
        stage.figures += figures_of(product.kind, product.metrics)
        stage.verdict = stage.verdict or product.verdict
        if product.kind in PLOTS:
            stage.plots.append(product)
        elif product.kind == "image":
            stage.image = product
        if product.kind in MADE:
            stage.made = product
    return stage


def page_of(observation: Observation) -> dict[str, Any]:
    """Return what the page of an observation shows."""
    files = list(observation.files.order_by("subband", "id"))
    last = observation.products.filter(run_id=observation.run_id).defer("params", "versions", "inputs")
    products = list(last.order_by("id")[:PRODUCTS_MOST]) if observation.run_id else []
    product_files.look(products)
    task_ids = {product.task_id for product in products if product.kind == "photometry"}
    fluxes = Measurement.objects.filter(task_id__in=task_ids).order_by("-flux_jy")
    before, after = neighbours(observation)
    shown = subbands(observation, files)
    of_run = stages(observation.run_id, products) if observation.run_id else []
    return {
        "observation": observation,
        "state": state_of(observation, [stage.task.display_status for stage in of_run if stage.task]),
        "before": before,
        "after": after,
        "subbands": shown,
        "n_found": sum(each.state == "accepted" for each in shown),
        "unused": [file for file in files if file.state != SubbandState.ACCEPTED],
        "stages": of_run,
        "products": products,
        "fluxes": list(fluxes[:FLUXES_MOST]),
        "calibrations": _calibrations(observation),
        "run": Run.objects.filter(run_id=observation.run_id).first() if observation.run_id else None,
    }


def _calibrations(observation: Observation) -> list[Calibration]:
    """Return the calibrations that the last run applied."""
    applied = observation.products.filter(run_id=observation.run_id, kind="calibrated-ms").values_list(
        "params", flat=True
    )
    names = ("calibration_path", "other_calibration_path")
    paths = {params[name] for params in applied for name in names if params.get(name)}
    return list(Calibration.objects.filter(path__in=paths).select_related("observation")) if paths else []
