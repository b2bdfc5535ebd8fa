"""Sidereal time at the array, and when a direction crosses its meridian.

For rulers and lists that are right to a few seconds, without astropy, which web processes do not load. What is computed
with data uses `telescope.meridian_icrs_deg`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipeline_app.telescope import LONGITUDE_DEG

J2000_MJD = 51544.5
SIDEREAL_DEG_PER_DAY = 360.98564736629
"""Turn of the Earth in a day of UT1 (IAU 1982)."""


def local_sidereal_deg(mjd: float, longitude_deg: float = LONGITUDE_DEG) -> float:
    """Return the mean sidereal time at a moment (UTC), in degrees from 0 to 360.

    Meeus, Astronomical Algorithms (1998), eq. 12.4. UTC stands for UT1 and the equation of the equinoxes is left out:
    2.1 s at most.
    """
    days = mjd - J2000_MJD
    centuries = days / 36525
    greenwich = 280.46061837 + SIDEREAL_DEG_PER_DAY * days + (0.000387933 - centuries / 38_710_000) * centuries**2
    return (greenwich + longitude_deg) % 360.0


def of_date_deg(ra_deg: float, dec_deg: float, mjd: float) -> tuple[float, float]:
    """Return an ICRS direction in the mean equator and equinox of a moment.

    Precession of Lieske et al. (1977), as in Meeus, eqs. 21.3 and 21.4. Nutation and aberration are left out: 40 arcsec
    at most.
    """
    t = (mjd - J2000_MJD) / 36525
    zeta = math.radians((2306.2181 * t + 0.30188 * t**2 + 0.017998 * t**3) / 3600)
    z = math.radians((2306.2181 * t + 1.09468 * t**2 + 0.018203 * t**3) / 3600)
    theta = math.radians((2004.3109 * t - 0.42665 * t**2 - 0.041833 * t**3) / 3600)
    ra, dec = math.radians(ra_deg) + zeta, math.radians(dec_deg)
    a = math.cos(dec) * math.sin(ra)
    b = math.cos(theta) * math.cos(dec) * math.cos(ra) - math.sin(theta) * math.sin(dec)
    c = math.sin(theta) * math.cos(dec) * math.cos(ra) + math.cos(theta) * math.sin(dec)
    return math.degrees(math.atan2(a, b) + z) % 360.0, math.degrees(math.asin(max(-1.0, min(1.0, c))))


def transits_mjd(ra_of_date_deg: float, start_mjd: float, days: float = 1.0) -> Iterator[float]:
    """Yield when a direction of date crosses the array's meridian within some days from a moment, UTC."""
    until_deg = (ra_of_date_deg - local_sidereal_deg(start_mjd)) % 360.0
    while (passed_days := until_deg / SIDEREAL_DEG_PER_DAY) < days:
        yield start_mjd + passed_days
        until_deg += 360.0
