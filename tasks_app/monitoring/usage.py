"""What running attempts use, stored while they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from tasks_app.postgresql import statements

SERIES_POINTS = 60
SERIES_STEP_SEC = 5


class Point(NamedTuple):
    """What an attempt had used by a moment of its life, and the most memory that it held since the point before."""

    at_sec: int
    """From the start of the attempt."""
    rss_mb: int
    cpu_ds: int
    """Processor time since the start, in tenths of a second."""


class Series:
    """Memory and processor time over an attempt's life, in at most SERIES_POINTS points.

    The first points are SERIES_STEP_SEC apart. When there are too many each two become one, so the distance doubles: of
    an hour there is a point every 80 s. No peak of memory is lost by that.
    """

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._step_sec = SERIES_STEP_SEC
        self._rss_mb = 0

    def add(self, at_sec: float, rss_bytes: int, cpu_sec: float) -> None:
        """Take a measurement into account; it may be made more often than there are points."""
        self._rss_mb = max(self._rss_mb, round(rss_bytes / 1e6))
        last_sec = self._points[-1].at_sec if self._points else 0
        if at_sec < last_sec + self._step_sec:
            return
        self._points.append(Point(at_sec=round(at_sec), rss_mb=self._rss_mb, cpu_ds=round(10 * cpu_sec)))
        self._rss_mb = 0
        if len(self._points) > SERIES_POINTS:
            pairs = zip(self._points[:-1:2], self._points[1::2], strict=True)
            halved = [late._replace(rss_mb=max(early.rss_mb, late.rss_mb)) for early, late in pairs]
            self._points = [*halved, *self._points[2 * len(halved) :]]
            self._step_sec *= 2

    def flat(self) -> tuple[int, ...]:
        """Return the points one behind the other, as they are stored."""
        return tuple(value for point in self._points for value in point)


def points_of(stored: Sequence[int] | None) -> list[Point]:
    """Return the points of a series that was stored."""
    values = list(stored or ())
    return [Point(*values[place : place + 3]) for place in range(0, len(values), 3)]


@dataclass(frozen=True, kw_only=True)
class Used:
    """What one attempt has used so far."""

    claim_token: UUID
    peak_rss_bytes: int
    cpu_sec: float
    read_bytes: int
    write_bytes: int
    series: tuple[int, ...] = ()


_STORE = """
UPDATE tasks_app_attempt AS attempt
SET peak_rss_bytes = mine.peak_rss_bytes, cpu_sec = mine.cpu_sec, read_bytes = mine.read_bytes,
    write_bytes = mine.write_bytes, sampled_at = absurd_now(), usage_series = mine.series::integer[]
FROM unnest(
    %(tokens)s::uuid[], %(peaks)s::bigint[], %(cpus)s::float8[], %(reads)s::bigint[], %(writes)s::bigint[],
    %(series)s::text[]
) AS mine(token, peak_rss_bytes, cpu_sec, read_bytes, write_bytes, series)
WHERE attempt.claim_token = mine.token AND attempt.ended_at IS NULL
    AND EXISTS (SELECT FROM tasks_app_task AS task WHERE task.claim_token = mine.token AND task.status = 'claimed')
"""


def store(used: Sequence[Used]) -> None:
    """Store what attempts have used, in one statement; nothing is changed of those whose claim was lost."""
    if used:
        statements.run(
            _STORE,
            {
                "tokens": [each.claim_token for each in used],
                "peaks": [each.peak_rss_bytes for each in used],
                "cpus": [each.cpu_sec for each in used],
                "reads": [each.read_bytes for each in used],
                "writes": [each.write_bytes for each in used],
                # An array of arrays would have to be as wide for each.
                "series": [f"{{{','.join(map(str, each.series))}}}" if each.series else None for each in used],
            },
        )
