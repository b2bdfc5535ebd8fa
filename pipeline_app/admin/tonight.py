"""How far each observation has come, stage by stage; in the control room those of the last day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median

from django.db.models import OuterRef, Subquery
from django.urls import reverse

from pipeline_app.models import Observation, Product
from pipeline_app.registration import (
    CALIBRATE,
    CONVERT,
    IMAGING,
    PHOTOMETRY,
    SELF_CALIBRATION,
    SOLVE,
    VALIDATION,
)
from tasks_app.admin import attention, control_room
from tasks_app.admin.attention import Remedy
from tasks_app.admin.control_room import Figure, Section
from tasks_app.models import Task

STAGES = {
    CONVERT: "convert",
    SOLVE: "solve",
    CALIBRATE: "calibrate",
    IMAGING: "image",
    SELF_CALIBRATION: "self-cal.",
    VALIDATION: "validate",
    PHOTOMETRY: "fluxes",
}
"""The stages of a tile in the order in which they run, with their words above the grid."""
WORST_FIRST = (
    "failed", "quarantined", "fail", "stalled", "warn", "cancelled", "unrunnable", "cancelling", "claimed", "retrying",
    "pending", "scheduled", "waiting", "completed",
)  # fmt: skip
SHOWN = 40
DAY = 1.0
FACTOR_TILES = 10
PRODUCTS_READ = 10
"""Of an observation: what has a verdict that is not pass."""
THUMBNAIL = "thumbnail"
READ = (
    "task_id", "run_id", "stage", "status", "hold", "retry_count", "quarantined_at", "lease_until",
    "cancel_requested_at", "unrunnable_because", "claimed_at", "completed_at",
)  # fmt: skip
"""The columns of tasks that the grid needs: with all of them a night of 2,000 tasks takes twice as long."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A stage of an observation: its task, and the worst verdict of what it made."""

    task: Task | None = None
    verdict: str = ""

    @cached_property
    def state(self) -> str:
        """The word and the colour of the cell: a verdict worse than pass counts more than having completed,
        and what failed only because of an earlier stage does not look like the cause."""
        if self.task is None:
            return "none"
        if self.task.unrunnable_because is not None:
            return "unrunnable"
        status = self.task.display_status
        return self.verdict if status == "completed" and self.verdict in ("warn", "fail") else status


@dataclass(frozen=True, kw_only=True)
class Row:
    """An observation and its stages, in the order of STAGES."""

    observation: Observation
    cells: list[Cell]

    @cached_property
    def state(self) -> str:
        """The worst state of its cells; empty before it has tasks."""
        states = {cell.state for cell in self.cells} - {"none"}
        return next((state for state in WORST_FIRST if state in states), "")

    @property
    def run_id(self) -> int | None:
        """The key of its last run, where tasks of that are still there."""
        return next((cell.task.run_id for cell in self.cells if cell.task is not None), None)

    @property
    def busy_sec(self) -> float | None:
        """Seconds that its stages took, once all have completed."""
        tasks = [cell.task for cell in self.cells if cell.task is not None]
        if not tasks or any(task.status != "completed" for task in tasks):
            return None
        return sum(task.duration_sec or 0.0 for task in tasks)


@dataclass(frozen=True, kw_only=True)
class Tonight:
    """Observations with their stages, and the newest image of theirs."""

    rows: list[Row] = field(default_factory=list)
    picture: Product | None = None
    stages: tuple[str, ...] = tuple(STAGES.values())


def tonight() -> Tonight:
    """Return the observations of the day before the newest one's end, 40 at most."""
    newest = list(Observation.objects.order_by("-id")[:SHOWN])
    if not newest:
        return Tonight()
    last_mjd = max(observation.mid_mjd for observation in newest)
    observations = sorted(
        (each for each in newest if each.mid_mjd > last_mjd - DAY), key=lambda each: each.mid_mjd, reverse=True
    )
    pictures = Product.objects.filter(kind=THUMBNAIL, run_id__in=[each.run_id for each in observations])
    light = pictures.only("task_id", "attempt", "verdict", "kind", "path", "observation_id", "host")
    image = Product.objects.filter(task_id=OuterRef("task_id"), kind="image").values("pk")[:1]
    return replace(stages_of(observations), picture=light.annotate(image_pk=Subquery(image)).order_by("-id").first())


def stages_of(observations: Sequence[Observation]) -> Tonight:
    """Return the observations in their order with the stages of their last runs."""
    run_ids = [each.run_id for each in observations if each.run_id]
    tasks = _tasks(run_ids)
    products = (
        Product.objects.filter(verdict__in=("warn", "fail"), run_id__in=run_ids)
        .order_by("-id")
        .values_list("task_id", "verdict")[: PRODUCTS_READ * len(observations)]
    )
    verdicts: dict[object, str] = {}
    for task_id, verdict in products:
        if verdicts.get(task_id) != "fail":
            verdicts[task_id] = verdict
    rows = [
        Row(
            observation=each,
            cells=[
                Cell(task=task, verdict=verdicts.get(task.task_id, "") if task else "")
                for task in (tasks.get((each.run_id, stage)) for stage in STAGES)
            ],
        )
        for each in observations
    ]
    return Tonight(rows=rows)


def _tasks(run_ids: Iterable[object]) -> dict[tuple[object, str], Task]:
    rows = Task.objects.filter(run__run_id__in=list(run_ids), stage__in=list(STAGES)).with_names().order_by("id")
    return {(task.run_uuid, task.stage): task for task in rows.only(*READ)}


def figures(found: Tonight | None) -> list[Figure]:
    """Return the real-time factor: the seconds of work that a tile took over the seconds that it lasts."""
    factors = [
        busy_sec / row.observation.duration_sec
        for row in (found.rows if found else ())
        if (busy_sec := row.busy_sec) is not None and row.observation.duration_sec > 0
    ][:FACTOR_TILES]
    value = f"{median(factors):.2f}" if factors else "–"
    tone = "bad" if factors and median(factors) > 1 else ""
    return [Figure(label="real-time factor", value=value, address=reverse("admin:page_nights"), tone=tone)]


SECTION = Section(
    name="tonight",
    title="Tonight: observations and stages",
    template="admin/pipeline_app/tonight.html",
    read=tonight,
    permission="pipeline_app.view_observation",
)


def register() -> None:
    """Show the section, and the pages behind what the pipeline's checks find."""
    control_room.add_section(SECTION, figures)
    for kind in ("observation", "product", "calibration"):
        view = f"pipeline_app_{kind}_change"
        attention.add(kind, Remedy(label=f"Open {kind}", view=view, permission=f"pipeline_app.view_{kind}"))
