"""Charts as data: what is drawn where, with units. The browser draws them (static/console/charts.js)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

POINTS_MOST = 5000
"""A chart holds no more points; a query that could return more must be bounded by its caller."""

Tone = Literal["", "ok", "busy", "warn", "bad", "calm", "wait"]
"""The meaning of a colour; without one, series get different colours. An interval of waiting is drawn light."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis; `time` takes ISO moments or milliseconds since 1970 UTC, `category` indices into `categories`."""

    label: str
    unit: str = ""
    kind: Literal["value", "log", "time", "category"] = "value"
    categories: Sequence[str] = ()
    low: float | None = None
    high: float | None = None
    whole: bool = False
    """Whether only whole numbers, or whole days of time, occur."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one name: [x, y] or, with error bars, [x, y, error]; `labels` and `links` belong to them in order."""

    name: str
    points: Sequence[Sequence[float | int | str | None]]
    mark: Literal["line", "area", "bar", "point"] = "line"
    tone: Tone = ""
    stack: str = ""
    labels: Sequence[str] = ()
    links: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A line across the chart."""

    axis: Literal["x", "y"]
    value: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A bar in a lane, from one moment (ISO) to another."""

    lane: int
    start: str
    end: str
    label: str
    tone: Tone = ""
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class XYChart:
    """Lines, areas, bars and points over two axes."""

    name: str
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    thresholds: Sequence[Threshold] = ()
    size: Literal["small", "medium", "large"] = "medium"
    kind: str = "xy"

    def count(self) -> int:
        """Return the number of points."""
        return sum(len(each.points) for each in self.series)


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Cells [column, row, value or None] coloured by their value between `low` and `high`."""

    name: str
    title: str
    x: Axis
    y: Axis
    cells: Sequence[Sequence[float | int | None]]
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    size: Literal["small", "medium", "large"] = "large"
    kind: str = "heat"

    def count(self) -> int:
        """Return the number of cells."""
        return len(self.cells)


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hours of another clock above a chart, counted on beyond 24 where they begin again."""

    label: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """Intervals in named lanes over time, between two moments (ISO) where they are given."""

    name: str
    title: str
    lanes: Sequence[str]
    intervals: Sequence[Interval]
    low: str = ""
    high: str = ""
    above: Hours | None = None
    size: Literal["small", "medium", "large"] = "medium"
    kind: str = "lanes"

    def count(self) -> int:
        """Return the number of intervals."""
        return len(self.intervals)


Chart = XYChart | HeatMap | Lanes


def as_json(chart: Chart) -> dict[str, Any]:
    """Return what the browser draws. Raises ValueError for more points than a page should carry."""
    if chart.count() > POINTS_MOST:
        raise ValueError(f"a chart may have {POINTS_MOST} points at most ({chart.name} has {chart.count()})")
    return asdict(chart)
