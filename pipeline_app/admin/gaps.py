"""What a night lacks: stretches without a tile, and tiles without all of their subbands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.contrib.postgres.aggregates import ArrayAgg

from pipeline_app.models import Observation, SubbandFile, SubbandState
from pipeline_app.telescope import TILE_DURATION_SEC

DAY_SEC = 86_400.0
LEAST_SEC = TILE_DURATION_SEC / 2
"""A shorter break between two tiles has room for none."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch of time, and what is missing in it."""

    start_mjd: float
    length_sec: float
    missing: str
    n_tiles: int
    observation: Observation | None = None
    """The first that lacks subbands; none where there is no tile at all."""

    @property
    def end_mjd(self) -> float:
        """When it ends."""
        return self.start_mjd + self.length_sec / DAY_SEC


def gaps_of(observations: Sequence[Observation], start_mjd: float, end_mjd: float) -> list[Gap]:
    """Return what is missing between two moments, in order; the observations are sorted by time."""
    missing = missing_subbands(observations)
    return sorted(
        [*_without_tile(observations, start_mjd, end_mjd), *_incomplete(observations, missing)],
        key=lambda gap: gap.start_mjd,
    )


def missing_subbands(observations: Iterable[Observation]) -> dict[int, list[int]]:
    """Return the expected subbands without an accepted file, by the key of the observation."""
    accepted = SubbandFile.objects.filter(
        observation__in=[each.pk for each in observations], state=SubbandState.ACCEPTED
    )
    numbers = accepted.order_by().values_list("observation_id").annotate(numbers=ArrayAgg("subband"))
    held: dict[int, list[int]] = dict(numbers)
    return {
        each.pk: [number for number in range(each.expected_subbands or 0) if number not in held.get(each.pk, ())]
        for each in observations
    }


def _without_tile(observations: Sequence[Observation], start_mjd: float, end_mjd: float) -> list[Gap]:
    found, covered_mjd = [], start_mjd
    for begins_mjd, ends_mjd in [*((each.start_mjd, _end(each)) for each in observations), (end_mjd, end_mjd)]:
        length_sec = (begins_mjd - covered_mjd) * DAY_SEC
        if length_sec >= LEAST_SEC:
            n_tiles = max(1, round(length_sec / TILE_DURATION_SEC))
            found.append(Gap(start_mjd=covered_mjd, length_sec=length_sec, missing="no tile", n_tiles=n_tiles))
        covered_mjd = max(covered_mjd, ends_mjd)
    return found


def _incomplete(observations: Sequence[Observation], missing: dict[int, list[int]]) -> list[Gap]:
    """Return the tiles without all subbands; neighbours that lack the same are one stretch."""
    found: list[Gap] = []
    for each in observations:
        if not missing[each.pk]:
            continue
        what, last = _words(each, missing[each.pk]), found[-1] if found else None
        if last and last.missing == what and (each.start_mjd - last.end_mjd) * DAY_SEC < LEAST_SEC:
            length_sec = (_end(each) - last.start_mjd) * DAY_SEC
            found[-1] = replace(last, length_sec=length_sec, n_tiles=last.n_tiles + 1)
        else:
            found.append(
                Gap(start_mjd=each.start_mjd, length_sec=each.duration_sec, missing=what, n_tiles=1, observation=each)
            )
    return found


def _words(observation: Observation, numbers: list[int]) -> str:
    if len(numbers) == observation.expected_subbands:
        return "all subbands"
    return f"subband{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def _end(observation: Observation) -> float:
    return observation.start_mjd + observation.duration_sec / DAY_SEC
