"""Nights: a calendar, and one night with its strips over time, its stages, transits of calibrators, and gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from pipeline_app.admin.gaps import Gap, gaps_of
from pipeline_app.admin.night_calendar import YEARS, date_of, kept_month_of, neighbours, start_of
from pipeline_app.admin.tonight import Row, Tonight, stages_of
from pipeline_app.admin.transits import Transit, transits_of
from pipeline_app.models import Observation
from pipeline_app.sky_text import hms, mjd_of, moment_of
from pipeline_app.telescope import SIDEREAL_DEG_PER_DAY, local_sidereal_deg
from tasks_app.admin import pages
from tasks_app.admin.charts import Hours, Interval, Lanes, Tone
from tasks_app.admin.control_room import Figure
from tasks_app.admin.display import duration
from tasks_app.postgresql import clock

OBSERVATIONS_MOST = 300
"""A day has room for 279 tiles."""
MARGIN_DAYS = 0.5 / 24
"""Shown before the first and after the last observation."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TONES: dict[str, Tone] = {
    "completed": "ok", "warn": "warn", "claimed": "busy", "failed": "bad", "quarantined": "bad", "fail": "bad",
    "stalled": "bad",
}  # fmt: skip


class NightForm(forms.Form):
    """The query of the address: which night, and which month of the calendar."""

    night = forms.DateField(
        required=False,
        validators=YEARS,
        widget=forms.DateInput(attrs={"type": "date"}),
        label="night (UTC date)",
    )
    month = forms.DateField(required=False, validators=YEARS, widget=forms.HiddenInput)


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one night's part of the page shows."""

    grid: Tonight = field(default_factory=Tonight)
    gaps: list[Gap] = field(default_factory=list)
    transits: list[Transit] = field(default_factory=list)
    chart: Lanes | None = None
    figures: list[Figure] = field(default_factory=list)
    is_cut: bool = False


def night_of(day: date, now: datetime) -> Night:
    """Return what is known of a night."""
    start_mjd = start_of(day)
    tiles = Observation.objects.filter(start_mjd__gte=start_mjd, start_mjd__lt=start_mjd + 1).order_by(
        "start_mjd", "id"
    )
    found = list(tiles[: OBSERVATIONS_MOST + 1])
    observations = found[:OBSERVATIONS_MOST]
    if not observations:
        return Night()
    grid = stages_of(observations)
    gaps = gaps_of(observations, start_mjd, min(start_mjd + 1, max(mjd_of(now), start_mjd)))
    strips_deg = sorted({round(each.declination_deg, 1) for each in observations}, reverse=True)
    transits = transits_of(observations, strips_deg, start_mjd)
    return Night(
        grid=grid,
        gaps=gaps,
        transits=transits,
        chart=_chart(grid.rows, strips_deg, gaps, transits),
        figures=_figures(grid.rows, gaps),
        is_cut=len(found) > OBSERVATIONS_MOST,
    )


def _figures(rows: Sequence[Row], gaps: Sequence[Gap]) -> list[Figure]:
    states = Counter(row.state for row in rows)
    bad = sum(number for state, number in states.items() if TONES.get(state) == "bad")
    lacking = sum(gap.n_tiles for gap in gaps if gap.observation)
    first_mjd, last_mjd = rows[0].observation.start_mjd, rows[-1].observation.start_mjd
    between_sec = sum(gap.length_sec for gap in gaps if not gap.observation and first_mjd < gap.start_mjd < last_mjd)
    return [
        Figure(label="observations", value=str(len(rows))),
        Figure(label="completed without a warning", value=str(states["completed"])),
        Figure(label="with a warning", value=str(states["warn"])),
        Figure(label="failed", value=str(bad), tone="bad" if bad else ""),
        Figure(label="lack subbands", value=str(lacking), tone="bad" if lacking else ""),
        Figure(label="without a tile in between", value=duration(between_sec) if between_sec else "none"),
    ]


def _chart(rows: Sequence[Row], strips_deg: Sequence[float], gaps: Sequence[Gap], transits: Sequence[Transit]) -> Lanes:
    """Return the night over time: a lane a strip, one of transits and one of gaps, under a ruler of sidereal time."""
    low_mjd = rows[0].observation.start_mjd - MARGIN_DAYS
    high_mjd = max(row.observation.start_mjd + row.observation.duration_sec / 86_400 for row in rows) + MARGIN_DAYS
    lanes = [f"{strip:+.1f}°" for strip in strips_deg]
    intervals = [_of_row(row, strips_deg.index(round(row.observation.declination_deg, 1))) for row in rows]
    for transit in transits:
        if low_mjd < transit.mjd < high_mjd:
            link = (
                reverse("admin:pipeline_app_observation_change", args=[transit.observation.pk])
                if transit.observation
                else ""
            )
            label = f"{transit.calibrator.name}, {transit.calibrator.flux_jy:.1f} Jy, within half power"
            intervals.append(_interval(len(lanes), transit.start_mjd, transit.end_mjd, label, "busy", link))
    for gap in gaps:
        if gap.start_mjd < high_mjd and gap.end_mjd > low_mjd:
            start_mjd, end_mjd = max(gap.start_mjd, low_mjd), min(gap.end_mjd, high_mjd)
            tone: Tone = "warn" if gap.observation else "wait"
            intervals.append(_interval(len(lanes) + 1, start_mjd, end_mjd, f"missing: {gap.missing}", tone))
    low_h = local_sidereal_deg(low_mjd) / 15
    return Lanes(
        name="night",
        title="Observations by strip; below UTC, above the local sidereal time",
        lanes=[*lanes, "calibrators", "gaps"],
        intervals=intervals,
        low=clock.stamp(moment_of(low_mjd)),
        high=clock.stamp(moment_of(high_mjd)),
        above=Hours(label="LST", low=low_h, high=low_h + (high_mjd - low_mjd) * SIDEREAL_DEG_PER_DAY / 15),
    )


def _of_row(row: Row, lane: int) -> Interval:
    each = row.observation
    start_mjd = each.start_mjd
    lst = hms(local_sidereal_deg(each.mid_mjd), 0)
    label = f"{each.name}, LST {lst}, {each.role or each.state}: {row.state or 'no task yet'}"
    link = reverse("admin:pipeline_app_observation_change", args=[each.pk])
    return _interval(lane, start_mjd, start_mjd + each.duration_sec / 86_400, label, TONES.get(row.state, "calm"), link)


def _interval(lane: int, start_mjd: float, end_mjd: float, label: str, tone: Tone, link: str = "") -> Interval:
    start, end = clock.stamp(moment_of(start_mjd)), clock.stamp(moment_of(end_mjd))
    return Interval(lane=lane, start=start, end=end, label=label, tone=tone, link=link)


def nights(request: HttpRequest) -> HttpResponseBase:
    """The night that is asked for, else the last one that has observations."""
    form, now = NightForm(request.GET), clock.now()
    valid = form.is_valid()
    asked = form.cleaned_data.get("night") if valid else None
    if asked is None:
        last_mjd = Observation.objects.order_by("-start_mjd").values_list("start_mjd", flat=True).first()
        asked = now.date() if last_mjd is None else date_of(last_mjd)
    day: date = asked
    month = (form.cleaned_data.get("month") if valid else None) or day
    panels = pages.read_panels(
        {"month": lambda: kept_month_of(month), "beside": lambda: neighbours(day), "night": lambda: night_of(day, now)}
    )
    today = now.date()
    context = {
        "form": form,
        "day": day,
        "today": today,
        "is_live": day >= today - timedelta(days=1),
        "weekdays": WEEKDAYS,
        "panels": panels,
    }
    response = pages.render(request, "admin/pipeline/nights.html", title=f"Night of {day}", context=context)
    if not valid:
        response.status_code = 400
    return response


pages.add(
    pages.Page(
        route="nights/",
        name="nights",
        view=nights,
        permission="pipeline_app.view_observation",
        label="Nights",
        order=30,
    )
)
