"""The calendar of nights: how many observations each has, and the worst that happened in it.

A night is a day of UTC: at the array it begins at 16:00 Pacific Standard Time.
"""

from __future__ import annotations

from calendar import Calendar
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import floor

from django.core.cache import cache
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.db.models.functions import Floor

from pipeline_app.models import Observation, ObservationState, Product
from pipeline_app.sky_text import mjd_of, moment_of
from tasks_app.models import Task, TaskStatus

YEARS = (MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2100, 1, 1)))
"""Nights that may be asked for: what is computed around them has dates too."""
MONTH_SEC = 30
"""A task that fails without a product is in the calendar after this time at the latest."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """A night in the calendar."""

    date: date
    is_of_month: bool
    observations: int = 0
    state: str = ""
    """The worst that happened in it; empty without observations."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """The weeks of a month, and the days by which the months beside it are asked for."""

    first: date
    weeks: list[list[Day]]

    @property
    def before(self) -> date:
        """The first of the month before."""
        return (self.first - timedelta(days=1)).replace(day=1)

    @property
    def after(self) -> date:
        """The first of the month after."""
        return (self.first + timedelta(days=31)).replace(day=1)


def start_of(day: date) -> float:
    """Return when a night begins, MJD."""
    return mjd_of(datetime.combine(day, time(), UTC))


def date_of(mjd: float) -> date:
    """Return the night to which a moment belongs."""
    return moment_of(floor(mjd)).date()


def kept_month_of(day: date) -> Month:
    """Return the calendar of a month as new as the last product and observation, or as MONTH_SEC allows."""
    newest = Product.objects.aggregate(last=Max("pk"))["last"], Observation.objects.aggregate(last=Max("pk"))["last"]
    key = f"pipeline-month-{day:%Y-%m}-{newest[0]}-{newest[1]}"
    found: Month | None = cache.get(key)
    if found is None:
        found = month_of(day)
        cache.set(key, found, MONTH_SEC)
    return found


def month_of(day: date) -> Month:
    """Return the calendar of a month, with the number of observations and the worst of each night."""
    weeks = Calendar().monthdatescalendar(day.year, day.month)
    tiles = Observation.objects.filter(start_mjd__gte=start_of(weeks[0][0]), start_mjd__lt=start_of(weeks[-1][-1]) + 1)
    tiles = tiles.annotate(night=Floor("start_mjd")).order_by()
    broken = Task.objects.filter(
        run__run_id=OuterRef("run_id"), status=TaskStatus.FAILED, unrunnable_because__isnull=True
    )
    counts = tiles.values("night").annotate(
        number=Count("pk"),
        incomplete=Count("pk", filter=Q(state=ObservationState.INCOMPLETE)),
        broken=Count("pk", filter=Exists(broken)),
    )
    numbers = {date_of(row["night"]): row for row in counts}
    states: dict[date, set[str]] = defaultdict(set)
    for night, row in numbers.items():
        if row["broken"]:
            states[night].add("failed")
    products = Product.objects.exclude(verdict="").filter(
        observation__in=tiles.values("pk"), run_id=F("observation__run_id")
    )
    judged = (
        products.annotate(night=Floor("observation__start_mjd")).order_by().values_list("night", "verdict").distinct()
    )
    for night, verdict in judged:
        states[date_of(night)].add(verdict)

    def made(each: date) -> Day:
        found = numbers.get(each)
        if found is None:
            return Day(date=each, is_of_month=each.month == day.month)
        worst = next((state for state in ("failed", "fail", "warn") if state in states[each]), "")
        worst = worst or ("incomplete" if found["incomplete"] else "pass" if "pass" in states[each] else "no-verdict")
        return Day(date=each, is_of_month=each.month == day.month, observations=found["number"], state=worst)

    return Month(first=day.replace(day=1), weeks=[[made(each) for each in week] for week in weeks])


def neighbours(day: date) -> tuple[date | None, date | None]:
    """Return the nights with observations before and after one."""
    start_mjd = start_of(day)
    light = Observation.objects.values_list("start_mjd", flat=True)
    before = light.filter(start_mjd__lt=start_mjd).order_by("-start_mjd")[:1]
    after = light.filter(start_mjd__gte=start_mjd + 1).order_by("start_mjd")[:1]
    found = sorted(date_of(mjd) for mjd in before.union(after))
    return (
        found[0] if found and found[0] < day else None,
        found[-1] if found and found[-1] > day else None,
    )
