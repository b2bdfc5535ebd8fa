"""Which tile is the calibrator's, and whose calibration a target gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pipeline_app.calibrators import beam_weighted_flux_jy, calibrators
from pipeline_app.ingest.register import Tile
from pipeline_app.models import Calibration, Observation
from pipeline_app.registration import SOLVE
from pipeline_app.stages.calibration_apply import MAX_AGE_HOURS, MAX_DECLINATION_DIFFERENCE_DEG
from pipeline_app.telescope import REFERENCE_FREQ_HZ, SIDEREAL_RATE_DEG_PER_SEC
from pipeline_app.workflows import Plan
from tasks_app.models import Task, TaskStatus

MAX_AGE_DAYS = MAX_AGE_HOURS / 24
DUE_WITHIN_SEC = 1800.0
"""A target waits for a calibrator that crosses the meridian this soon after it: gains drift by degrees in an hour."""
LATE_SEC = 600.0
"""How long after the end of its tile a calibrator's run may start before nobody waits for it any longer."""
SECONDS_PER_DAY = 86400.0
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
MIN_APPARENT_FLUX_JY = 3.0
"""What makes a tile a calibrator's when tiles come one by one. In a full tile a source this bright gives each antenna's
bandpass to 2 % a channel: 6500 Jy / sqrt(2 x 244 kHz x 309 s) / sqrt(95) / 3 Jy."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a calibration comes from: a task that solves it, or a published directory."""

    solve_task_id: UUID | None = None
    path: str | None = None


Choice = tuple[float, Source]
"""A calibration, and how many days after a tile it was observed."""


def plan_set(tiles: Sequence[Tile]) -> list[Plan]:
    """Plan a complete set by the rule of `plan_single`, with the calibrators' tiles of the set itself.

    In a strip and day without a calibrator that is bright enough the tile with the largest beam-weighted flux takes its
    place: where no tile has one in the beam the first is tried, so that the refusal comes from the data and not from
    here.
    """
    in_time = sorted(tiles, key=lambda tile: tile.observation.mid_mjd)
    chosen = [tile for tile in in_time if is_calibrator(tile.observation)]
    left = [tile for tile in in_time if not any(matches(tile.observation, one.observation) for one in chosen)]
    while left:
        best = max(left, key=lambda tile: tile.observation.calibrator_apparent_flux_jy or 0.0)
        chosen.append(best)
        left = [tile for tile in left if not matches(tile.observation, best.observation)]
    sources = [Plan.calibrator(tile) for tile in chosen]
    targets = [tile for tile in in_time if tile not in chosen]
    return [*sources, *(_target(tile, _of_set(tile, sources)) for tile in targets)]


def _of_set(tile: Tile, plans: Sequence[Plan]) -> list[Choice]:
    """Return the solves of a set that fit a tile."""
    observation = tile.observation
    return [
        (plan.tile.observation.mid_mjd - observation.mid_mjd, Source(solve_task_id=plan.solve_task_id))
        for plan in plans
        if matches(plan.tile.observation, observation)
    ]


def is_calibrator(observation: Observation) -> bool:
    """Whether a tile holds a calibrator that is bright enough to be solved for."""
    return (observation.calibrator_apparent_flux_jy or 0.0) >= MIN_APPARENT_FLUX_JY


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
    Where there is one on the other side in time too, gains are interpolated between the two.
    """
    if is_calibrator(tile.observation):
        return Plan.calibrator(tile)
    choices = [*_under_way(tile), *_solved(tile)]
    return _target(tile, choices) if choices else None


def _target(tile: Tile, choices: Sequence[Choice]) -> Plan:
    """Plan a target with the nearest calibration and, where there is one, the nearest on the other side in time."""
    after, nearest = min(choices, key=lambda choice: abs(choice[0]))
    across = [choice for choice in choices if choice[0] * after < 0]
    other = min(across, key=lambda choice: abs(choice[0]), default=(0.0, Source()))[1]
    return Plan(
        tile=tile,
        role="target",
        solve_task_id=nearest.solve_task_id,
        calibration_path=nearest.path,
        other_solve_task_id=other.solve_task_id,
        other_calibration_path=other.path,
    )


@dataclass(frozen=True, kw_only=True)
class Due:
    """A calibrator that is about to cross the meridian in a tile's strip."""

    name: str
    transit_mjd: float
    until_mjd: float
    """After this nobody waits for it any longer."""


def due_calibrator(tile: Tile, now_mjd: float) -> Due | None:
    """Return the next calibrator whose tile is worth waiting for, None where there is none or it is late.

    It crosses the meridian within half an hour after the tile, bright enough to calibrate the strip, and its own tile
    has not been started yet: from then on the target depends on the solve of that.
    """
    observation = tile.observation
    if observation.expected_subbands is None or is_calibrator(observation):
        return None
    found: list[Due] = []
    for known in calibrators():
        ahead_deg = (known.ra_deg - observation.ra_deg + 180.0) % 360.0 - 180.0
        ahead_sec = ahead_deg / SIDEREAL_RATE_DEG_PER_SEC
        if known.flux_jy is None or not 0.0 < ahead_sec <= DUE_WITHIN_SEC:
            continue
        seen_jy = beam_weighted_flux_jy(known, known.ra_deg, observation.dec_deg, REFERENCE_FREQ_HZ)
        transit_mjd = observation.mid_mjd + ahead_sec / SECONDS_PER_DAY
        until_mjd = transit_mjd + (observation.duration_sec + LATE_SEC) / SECONDS_PER_DAY
        if seen_jy >= MIN_APPARENT_FLUX_JY and now_mjd < until_mjd:
            found.append(Due(name=known.name, transit_mjd=transit_mjd, until_mjd=until_mjd))
    waiting_for = min(found, key=lambda due: due.transit_mjd, default=None)
    return None if waiting_for is None or _is_started(observation, waiting_for) else waiting_for


def mjd_of(moment: datetime) -> float:
    """Return a moment as a modified Julian date, UTC."""
    return (moment - MJD_EPOCH).total_seconds() / SECONDS_PER_DAY


def moment_of(mjd: float) -> datetime:
    """Return a modified Julian date as a moment, UTC."""
    return MJD_EPOCH + timedelta(days=mjd)


def _is_started(observation: Observation, due: Due) -> bool:
    half_days = observation.duration_sec / SECONDS_PER_DAY
    nearby = Observation.objects.filter(
        role="calibrator",
        run_id__isnull=False,
        mid_mjd__range=(due.transit_mjd - half_days, due.transit_mjd + half_days),
    )
    return any(matches(other, observation) for other in nearby)


def _solved(tile: Tile) -> list[Choice]:
    """Return usable calibrations with their time after the tile in days."""
    observation = tile.observation
    usable = Calibration.objects.exclude(verdict="fail").filter(
        telescope_name=observation.telescope_name,
        mid_mjd__range=(observation.mid_mjd - MAX_AGE_DAYS, observation.mid_mjd + MAX_AGE_DAYS),
        declination_deg__range=(
            observation.declination_deg - MAX_DECLINATION_DIFFERENCE_DEG,
            observation.declination_deg + MAX_DECLINATION_DIFFERENCE_DEG,
        ),
    )
    return [(c.mid_mjd - observation.mid_mjd, Source(path=c.path)) for c in usable.order_by("-id")]


def _under_way(tile: Tile) -> list[Choice]:
    """Return solves that have not ended with the time of their tile after this one in days."""
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
        (sources[run_id].mid_mjd - observation.mid_mjd, Source(solve_task_id=task_id)) for task_id, run_id in solving
    ]
