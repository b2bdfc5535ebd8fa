"""Light curves: one epoch an observation, and how much a source varies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from pipeline_app.models import Measurement

FAILED = Q(verdict="fail")
ETA_LIMIT = 3.0
V_LIMIT = 0.10
"""A source beyond both varies: more than its errors explain, and by a tenth of its mean. A choice for finding
candidates in weeks of data, not a significance."""


def epochs(rows: QuerySet[Measurement]) -> QuerySet[Measurement]:
    """Leave out what was measured again, at the same frequency in the same observation: the latest counts."""
    same = {name: OuterRef(name) for name in ("name", "observation", "freq_hz")}
    again: Any = Measurement.objects.filter(**same, id__gt=OuterRef("id"))
    return rows.exclude(Exists(again))


class Epoch(NamedTuple):
    """One row of a source, with what lists and figures need of it: a model of it takes five times as long to load."""

    pk: int
    name: str
    observation_id: int | None
    freq_hz: float
    mid_mjd: float | None
    ra_deg: float
    dec_deg: float
    flux_jy: float
    flux_err_jy: float
    catalog_flux_jy: float | None
    verdict: str


_LAST = f"""
    SELECT last.* FROM unnest(%s::text[]) AS wanted (name) CROSS JOIN LATERAL (
        SELECT id, {", ".join(Epoch._fields[1:])} FROM pipeline_app_measurement AS row
        WHERE row.name = wanted.name ORDER BY row.mid_mjd DESC LIMIT %s
    ) AS last ORDER BY id
"""  # noqa: S608 - names of columns


def last_epochs(names: Sequence[str], most: int) -> dict[str, list[Epoch]]:
    """Return the last epochs of each source in order of time, from its last `most` rows, however many there are."""
    found: dict[str, dict[Any, Epoch]] = {name: {} for name in names}
    with connection.cursor() as cursor:
        cursor.execute(_LAST, [list(names), most])
        for row in map(Epoch._make, cursor.fetchall()):
            # What was measured again replaces the earlier row; without an observation nothing is known to be the same.
            found[row.name][(row.observation_id, row.freq_hz) if row.observation_id else row.pk] = row
    return {name: sorted(rows.values(), key=_when) for name, rows in found.items() if rows}


def _when(row: Epoch) -> tuple[float, int]:
    return row.mid_mjd or 0.0, row.pk


@dataclass(frozen=True, kw_only=True)
class Flux:
    """One epoch of a source, in Jy."""

    value_jy: float
    error_jy: float


@dataclass(frozen=True, kw_only=True)
class Variability:
    """How a source varies over its epochs; the two figures are None with fewer than two."""

    n_epochs: int
    mean_jy: float
    eta: float | None
    """Reduced chi-square of a constant flux: sum of ((f - weighted mean) / error)^2 over n - 1."""
    v: float | None
    """Modulation: standard deviation (n - 1) over the mean. Both as in Swinbank et al. 2015 (the LOFAR TraP)."""

    @property
    def is_candidate(self) -> bool:
        """Whether it lies beyond both limits."""
        return self.eta is not None and self.v is not None and self.eta > ETA_LIMIT and self.v > V_LIMIT


def variability(points: Sequence[Flux]) -> Variability:
    """Measure how a source varies. Raises statistics.StatisticsError without any point."""
    mean_jy = fmean(point.value_jy for point in points)
    if len(points) < 2:
        return Variability(n_epochs=len(points), mean_jy=mean_jy, eta=None, v=None)
    weights = [1.0 / max(point.error_jy, 1e-12) ** 2 for point in points]
    weighted_jy = sum(w * p.value_jy for w, p in zip(weights, points, strict=True)) / sum(weights)
    chi2 = sum(w * (p.value_jy - weighted_jy) ** 2 for w, p in zip(weights, points, strict=True))
    variance = sum((p.value_jy - mean_jy) ** 2 for p in points) / (len(points) - 1)
    v = math.sqrt(variance) / abs(mean_jy) if mean_jy else None
    return Variability(n_epochs=len(points), mean_jy=mean_jy, eta=chi2 / (len(points) - 1), v=v)


def epoch_factors(rows: Iterable[tuple[int, str, float]], *, without: str) -> dict[int, float]:
    """Return by observation the median over sources of flux over the source's own mean flux.

    Args:
        rows: observation, source and flux in Jy of each measurement.
        without: the source that is to be divided by the factors, which has no part in them.
    """
    found = [row for row in rows if row[1] != without]
    fluxes: dict[str, list[float]] = {}
    for _, name, flux_jy in found:
        fluxes.setdefault(name, []).append(flux_jy)
    means = {name: fmean(values) for name, values in fluxes.items() if len(values) > 1}
    ratios: dict[int, list[float]] = {}
    for observation, name, flux_jy in found:
        if means.get(name, 0.0) > 0:
            ratios.setdefault(observation, []).append(flux_jy / means[name])
    return {observation: median(values) for observation, values in ratios.items()}
