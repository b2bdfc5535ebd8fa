"""Which known calibrators cross the beam in a night, and which observation saw each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline_app.calibrators import Calibrator, calibrators
from pipeline_app.models import Calibration, Observation
from pipeline_app.telescope import (
    REFERENCE_FREQ_HZ,
    SIDEREAL_RATE_DEG_PER_SEC,
    beam_fwhm_deg,
    of_date_deg,
    transits_mjd,
)

DAY_SEC = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Transit:
    """A calibrator that crosses the half-power beam of a strip."""

    calibrator: Calibrator
    strip_deg: float
    ra_deg: float
    """Of date: the sidereal time at which it crosses the meridian."""
    offset_deg: float
    """Its declination of date less that of the strip."""
    mjd: float
    half_width_sec: float
    """It is within half power from this long before to this long after."""
    observation: Observation | None = None
    """The one nearest to the transit that saw it within half power."""
    calibration: Calibration | None = None

    @property
    def start_mjd(self) -> float:
        """When it comes within half power."""
        return self.mjd - self.half_width_sec / DAY_SEC

    @property
    def end_mjd(self) -> float:
        """When it leaves half power."""
        return self.mjd + self.half_width_sec / DAY_SEC


def transits_of(observations: Sequence[Observation], strips_deg: Iterable[float], start_mjd: float) -> list[Transit]:
    """Return the transits of a day of UTC over its strips, in order. Calibrators without a known flux are left out."""
    made = {each.observation_id: each for each in _calibrations(observations)}
    radius_deg = beam_fwhm_deg(REFERENCE_FREQ_HZ) / 2
    found = []
    for calibrator in calibrators():
        ra_deg, dec_deg = of_date_deg(calibrator.ra_deg, calibrator.dec_deg, start_mjd + 0.5)
        for strip_deg in strips_deg:
            offset_deg = dec_deg - strip_deg
            if calibrator.flux_jy is None or abs(offset_deg) >= radius_deg:
                continue
            along_deg = math.sqrt(radius_deg**2 - offset_deg**2) / math.cos(math.radians(dec_deg))
            half_width_sec = along_deg / SIDEREAL_RATE_DEG_PER_SEC
            for mjd in transits_mjd(ra_deg, start_mjd):
                seen = _nearest(observations, strip_deg, mjd, half_width_sec)
                found.append(
                    Transit(
                        calibrator=calibrator,
                        strip_deg=strip_deg,
                        ra_deg=ra_deg,
                        offset_deg=offset_deg,
                        mjd=mjd,
                        half_width_sec=half_width_sec,
                        observation=seen,
                        calibration=made.get(seen.pk) if seen else None,
                    )
                )
    return sorted(found, key=lambda transit: transit.mjd)


def _calibrations(observations: Sequence[Observation]) -> list[Calibration]:
    light = Calibration.objects.only("observation_id", "verdict").order_by("id")
    return list(light.filter(observation__in=[each.pk for each in observations]))


def _nearest(
    observations: Sequence[Observation], strip_deg: float, mjd: float, half_width_sec: float
) -> Observation | None:
    seen = [
        (abs(each.mid_mjd - mjd) * DAY_SEC, each.pk, each)
        for each in observations
        if round(each.declination_deg, 1) == strip_deg
        and abs(each.mid_mjd - mjd) * DAY_SEC < half_width_sec + each.duration_sec / 2
    ]
    return min(seen)[2] if seen else None
