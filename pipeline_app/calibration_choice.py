"""Which tile is the calibrator's, and whose calibration a target gets."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_app.ingest import Tile
from pipeline_app.models import Calibration, Observation
from pipeline_app.registration import SOLVE
from pipeline_app.workflows import Plan
from tasks_app.models import Task, TaskStatus

MAX_AGE_DAYS = 1.0
MAX_DECLINATION_DIFFERENCE_DEG = 1.0
"""Both as in calibration-apply, which refuses what lies beyond."""
MIN_APPARENT_FLUX_JY = 3.0
"""What makes a tile a calibrator's when tiles come one by one. In a full tile a source this bright gives each antenna's
bandpass to 2 % a channel: 6500 Jy / sqrt(2 x 244 kHz x 309 s) / sqrt(95) / 3 Jy."""


def plan_set(tiles: Sequence[Tile]) -> list[Plan]:
    """Plan a complete set: in each strip the tile with the largest beam-weighted calibrator flux calibrates the others.

    A set that spans more than a day has a calibrator's tile a day. Where no tile has a calibrator in the beam the first
    is tried all the same, so that the refusal comes from the data and not from here.
    """
    plans: list[Plan] = []
    left = sorted(tiles, key=lambda tile: tile.observation.mid_mjd)
    while left:
        best = max(left, key=lambda tile: tile.observation.calibrator_apparent_flux_jy or 0.0)
        calibrator = Plan.calibrator(best)
        plans.append(calibrator)
        tied = [t for t in left if t is not best and matches(t.observation, best.observation)]
        plans.extend(Plan(tile=tile, role="target", solve_task_id=calibrator.solve_task_id) for tile in tied)
        left = [tile for tile in left if tile is not best and tile not in tied]
    return plans


def matches(one: Observation, other: Observation) -> bool:
    """Whether one tile's calibration may be applied to the other."""
    return (
        one.telescope_name == other.telescope_name
        and abs(one.declination_deg - other.declination_deg) <= MAX_DECLINATION_DIFFERENCE_DEG
        and abs(one.mid_mjd - other.mid_mjd) <= MAX_AGE_DAYS
    )


def plan_single(tile: Tile) -> Plan | None:
    """Plan a tile that comes by itself; None when it has to wait for a calibrator.

    With a bright calibrator in the beam it is a calibrator's tile. Any other gets the calibration nearest in time of
    the same strip, not more than a day away: one that has been solved and not refused, or one whose solve is under way.
    """
    observation = tile.observation
    if (observation.calibrator_apparent_flux_jy or 0.0) >= MIN_APPARENT_FLUX_JY:
        return Plan.calibrator(tile)
    choices = [*_under_way(tile), *_solved(tile)]
    return min(choices, key=lambda choice: choice[0], default=(0.0, None))[1]


def _solved(tile: Tile) -> list[tuple[float, Plan]]:
    observation = tile.observation
    usable = Calibration.objects.exclude(verdict="fail").filter(
        telescope_name=observation.telescope_name,
        mid_mjd__range=(observation.mid_mjd - MAX_AGE_DAYS, observation.mid_mjd + MAX_AGE_DAYS),
        declination_deg__range=(
            observation.declination_deg - MAX_DECLINATION_DIFFERENCE_DEG,
            observation.declination_deg + MAX_DECLINATION_DIFFERENCE_DEG,
        ),
    )
    return [
        (abs(c.mid_mjd - observation.mid_mjd), Plan(tile=tile, role="target", calibration_path=c.path))
        for c in usable.order_by("-id")
    ]


def _under_way(tile: Tile) -> list[tuple[float, Plan]]:
    observation = tile.observation
    sources = {
        source.run_id: source
        for source in Observation.objects.filter(
            role="calibrator",
            run_id__isnull=False,
            mid_mjd__range=(observation.mid_mjd - MAX_AGE_DAYS, observation.mid_mjd + MAX_AGE_DAYS),
        )
        if source.run_id and source.pk != observation.pk and matches(source, observation)
    }
    solving = Task.objects.filter(
        run__run_id__in=list(sources), stage=SOLVE, status__in=[TaskStatus.PENDING, TaskStatus.CLAIMED]
    ).values_list("task_id", "run__run_id")
    return [
        (
            abs(sources[run_id].mid_mjd - observation.mid_mjd),
            Plan(tile=tile, role="target", solve_task_id=task_id),
        )
        for task_id, run_id in solving
    ]
