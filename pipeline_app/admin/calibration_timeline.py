"""Which calibration held when, and which observations used it, as a chart of lanes by strip."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db.models.fields.json import KeyTextTransform
from django.urls import reverse

from pipeline_app.models import Calibration, Product
from pipeline_app.sky_text import moment_of
from pipeline_app.stages.calibration_apply import MAX_AGE_HOURS
from tasks_app.admin.charts import Interval, Lanes

TIMELINE_MOST = 200
USES_MOST = 1000
VALID_DAYS = MAX_AGE_HOURS / 24
TONES = {"pass": "ok", "warn": "warn", "fail": "bad"}


def timeline(rows: Iterable[Calibration]) -> Lanes:
    """Draw when each calibration may be used, and by which observations it was.

    A strip has two lanes. In the first a calibration reaches from its own time until a day later or the next one; one
    with the verdict fail is used by nothing, its bar is as long, for the gap to be seen. In the second are the
    observations, those in a row that used the same one together.
    """
    strips: dict[str, list[Calibration]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: each.mid_mjd)[-TIMELINE_MOST:]:
        strips[f"{row.declination_deg:+.1f}°"].append(row)
    used = _used_by(strips)
    lanes: list[str] = []
    intervals: list[Interval] = []
    for strip, found in strips.items():
        lane = len(lanes)
        lanes.append(strip)
        if used[strip]:
            intervals += [_use_shown(lane + 1, use) for use in used[strip]]
            lanes.append(f"{strip} used by")
        for index, row in enumerate(found):
            following = found[index + 1].mid_mjd if index + 1 < len(found) else math.inf
            intervals.append(
                Interval(
                    lane=lane,
                    start=moment_of(row.mid_mjd).isoformat(),
                    end=moment_of(min(row.mid_mjd + VALID_DAYS, following)).isoformat(),
                    label=f"{row.calibrator or 'no calibrator'}: {row.verdict}",
                    tone=TONES.get(row.verdict, "calm"),  # type: ignore[arg-type]
                    link=reverse("admin:pipeline_app_calibration_change", args=[row.pk]),
                )
            )
    return Lanes(name="validity", title="Calibrations by strip, and who used them", lanes=lanes, intervals=intervals)


@dataclass(frozen=True, kw_only=True)
class Used:
    """An observation that was calibrated."""

    name: str
    mid_mjd: float
    duration_sec: float
    path: str
    """Of the calibration."""


@dataclass(kw_only=True)
class Use:
    """Observations in a row that were calibrated with the same calibration."""

    calibration: Calibration
    observations: list[Used]


def _last_used() -> list[Used]:
    """Return the observations of the last USES_MOST calibrated data, each as it was calibrated last, by time."""
    rows = (
        Product.objects.filter(kind="calibrated-ms", observation__isnull=False)
        .order_by("-id")
        .values_list(
            "observation__name",
            "observation__mid_mjd",
            "observation__duration_sec",
            KeyTextTransform("calibration_path", "params"),
        )
    )
    latest: dict[tuple[str, float], Used] = {}
    for name, mid_mjd, duration_sec, path in rows[:USES_MOST]:
        latest.setdefault((name, mid_mjd), Used(name=name, mid_mjd=mid_mjd, duration_sec=duration_sec, path=path or ""))
    return sorted(latest.values(), key=lambda each: each.mid_mjd)


def _used_by(strips: Mapping[str, list[Calibration]]) -> dict[str, list[Use]]:
    """Return by strip who used which of these calibrations, in order of time."""
    known = {row.path: (strip, row) for strip, rows in strips.items() for row in rows}
    uses: dict[str, list[Use]] = {strip: [] for strip in strips}
    for used in _last_used() if known else ():
        if used.path not in known:
            continue
        strip, calibration = known[used.path]
        if uses[strip] and uses[strip][-1].calibration == calibration:
            uses[strip][-1].observations.append(used)
        else:
            uses[strip].append(Use(calibration=calibration, observations=[used]))
    return uses


def _use_shown(lane: int, use: Use) -> Interval:
    first, last = use.observations[0], use.observations[-1]
    number = len(use.observations)
    who = first.name if number == 1 else f"{number} observations from {first.name}"
    half_days = first.duration_sec / 2 / 86_400
    return Interval(
        lane=lane,
        start=moment_of(first.mid_mjd - half_days).isoformat(),
        end=moment_of(last.mid_mjd + half_days).isoformat(),
        label=f"{who}, calibrated with that of {use.calibration.observation or use.calibration}",
        tone=TONES.get(use.calibration.verdict, "calm"),  # type: ignore[arg-type]
        link=reverse("admin:pipeline_app_calibration_change", args=[use.calibration.pk]),
    )
