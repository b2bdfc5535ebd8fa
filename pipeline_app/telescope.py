"""The DSA-110 as numbers: where it stands, how its channels lie, how its dishes see.

astropy and scipy are imported where they are used: every web process and worker loads this module.

Every constant names its source. The array position is one position for the whole project: the same one is written into
Measurement Sets and into the Observatories table given to CASA, because two positions 36 m apart are 0.9 arcsec of sky.

The sidereal times at the end are for rulers and lists that are right to a few seconds; what is computed with data uses
`meridian_icrs_deg`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

SPEED_OF_LIGHT_M_S = 299_792_458.0

TELESCOPE_NAME = "OVRO_MMA"
"""Name in the raw headers, which CASA knows too."""
DSA_NAMES = frozenset({TELESCOPE_NAME, "DSA", "DSA110", "DSA-110", "DSA_110"})
"""What the DSA-110 may be called in a header."""
LATITUDE_DEG = 37.23339
LONGITUDE_DEG = -118.28341
HEIGHT_M = 1188.05
"""Centre of the T, WGS84 geodetic (dsa110-antpos)."""

DISH_DIAMETER_M = 4.65
"""From the raw headers' antenna_diameters."""
SEFD_JY = 6500.0
"""System equivalent flux density of one antenna (dsa110-antpos)."""
REFERENCE_FREQ_HZ = 1.405e9
"""Where flux densities are quoted: the middle of the band."""

N_SUBBANDS = 16
CHANNELS_PER_SUBBAND = 48
RAW_CHANNEL_WIDTH_HZ = 250e6 / 8192
RAW_CHANNELS_PER_CHANNEL = 8
CHANNEL_WIDTH_HZ = RAW_CHANNELS_PER_CHANNEL * RAW_CHANNEL_WIDTH_HZ
TOP_FREQ_HZ = 1.53e9
FIRST_RAW_CHANNEL = 1024
"""The correlator's grid (dsa110-meridian-fs): raw channels counted down from 1.53 GHz, 384 a subband, averaged by 8."""

INTEGRATION_TIME_SEC = 96 * 0.134217728
INTEGRATIONS_PER_TILE = 24
TILE_DURATION_SEC = INTEGRATIONS_PER_TILE * INTEGRATION_TIME_SEC

SIDEREAL_RATE_DEG_PER_SEC = 360.0 / 86164.0905

_WGS84_RADIUS_M = 6_378_137.0
_WGS84_FLATTENING = 1 / 298.257223563
_STATIONS_CSV = Path(__file__).parent / "data" / "stations.csv"

_ACTIVE_STATIONS = frozenset({*range(1, 10), *range(11, 21), *range(24, 52), *range(68, 117)})
"""The 96 stations that observed on 2026-01-25 (dsa110-continuum's audit of a real file)."""


@dataclass(frozen=True, kw_only=True)
class Station:
    """One pad of the array; its antenna has the number of the station less one in raw files."""

    number: int
    latitude_deg: float
    longitude_deg: float
    height_m: float
    active: bool

    @property
    def itrf_m(self) -> NDArray[np.float64]:
        """Geocentric position, shape (3,), metres."""
        return geodetic_to_itrf_m(self.latitude_deg, self.longitude_deg, self.height_m)


@cache
def stations() -> tuple[Station, ...]:
    """Return all 117 stations in order of number."""
    with _STATIONS_CSV.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return tuple(
        Station(
            number=int(row["number"]),
            latitude_deg=float(row["latitude_deg"]),
            longitude_deg=float(row["longitude_deg"]),
            height_m=float(row["height_m"]),
            active=int(row["number"]) in _ACTIVE_STATIONS,
        )
        for row in rows
    )


def geodetic_to_itrf_m(latitude_deg: float, longitude_deg: float, height_m: float) -> NDArray[np.float64]:
    """Return the geocentric position (x, y, z) in metres of a WGS84 geodetic one."""
    latitude, longitude = math.radians(latitude_deg), math.radians(longitude_deg)
    eccentricity2 = _WGS84_FLATTENING * (2 - _WGS84_FLATTENING)
    normal = _WGS84_RADIUS_M / math.sqrt(1 - eccentricity2 * math.sin(latitude) ** 2)
    return np.array(
        [
            (normal + height_m) * math.cos(latitude) * math.cos(longitude),
            (normal + height_m) * math.cos(latitude) * math.sin(longitude),
            (normal * (1 - eccentricity2) + height_m) * math.sin(latitude),
        ]
    )


def array_itrf_m() -> NDArray[np.float64]:
    """Return the geocentric position of the array, shape (3,), metres."""
    return geodetic_to_itrf_m(LATITUDE_DEG, LONGITUDE_DEG, HEIGHT_M)


def subband_freqs_hz(subband: int, channels: int = CHANNELS_PER_SUBBAND) -> NDArray[np.float64]:
    """Return the channel centres of subband 0..15 as the correlator orders them, descending, shape (channels,), Hz.

    With fewer than 48 channels the same 11.71875 MHz are cut into wider ones, as if the correlator had averaged more.

    Raises:
        ValueError: the subband is not 0..15, or `channels` does not divide 48.
    """
    if not 0 <= subband < N_SUBBANDS:
        raise ValueError(f"subband {subband} is not in 0..{N_SUBBANDS - 1}")
    if channels < 1 or CHANNELS_PER_SUBBAND % channels:
        raise ValueError(f"{channels} channels do not divide the {CHANNELS_PER_SUBBAND} of a subband")
    raw_per_subband = CHANNELS_PER_SUBBAND * RAW_CHANNELS_PER_CHANNEL
    raw_per_channel = raw_per_subband // channels
    centres = FIRST_RAW_CHANNEL + raw_per_subband * subband + raw_per_channel * np.arange(channels)
    return np.asarray(TOP_FREQ_HZ - (centres + (raw_per_channel - 1) / 2) * RAW_CHANNEL_WIDTH_HZ, dtype=np.float64)


def angular_separation_deg(ra1_deg: ArrayLike, dec1_deg: ArrayLike, ra2_deg: ArrayLike, dec2_deg: ArrayLike) -> NDArray:
    """Return the angle between directions in degrees, accurate at all separations (Vincenty)."""
    ra1, dec1, ra2, dec2 = (np.radians(np.asarray(a, dtype=float)) for a in (ra1_deg, dec1_deg, ra2_deg, dec2_deg))
    difference = ra2 - ra1
    y = np.hypot(
        np.cos(dec2) * np.sin(difference),
        np.cos(dec1) * np.sin(dec2) - np.sin(dec1) * np.cos(dec2) * np.cos(difference),
    )
    x = np.sin(dec1) * np.sin(dec2) + np.cos(dec1) * np.cos(dec2) * np.cos(difference)
    return np.degrees(np.arctan2(y, x))


def power_beam(offset_deg: ArrayLike, freq_hz: ArrayLike) -> NDArray:
    """Return the primary beam's power response, 1 on axis, at an offset from the pointing (arguments broadcast).

    The Airy pattern (2 J1(x) / x)^2 of a uniformly lit dish, x = pi D sin(offset) / wavelength.
    """
    # Web and workers load this module and see no sky: scipy would add 20 MB to each of them.
    from scipy.special import j1

    x = (
        np.pi
        * DISH_DIAMETER_M
        * np.sin(np.radians(np.asarray(offset_deg, dtype=float)))
        * np.asarray(freq_hz, dtype=float)
        / SPEED_OF_LIGHT_M_S
    )
    safe = np.where(np.abs(x) < 1e-6, 1.0, x)
    return np.where(np.abs(x) < 1e-6, 1.0, (2 * j1(safe) / safe) ** 2)


def beam_fwhm_deg(freq_hz: float) -> float:
    """Return the full width at half power of the primary beam: 1.029 wavelength / D for the Airy pattern."""
    half_power_x = 1.6163399483
    sine = half_power_x * SPEED_OF_LIGHT_M_S / (np.pi * DISH_DIAMETER_M * freq_hz)
    return 2 * math.degrees(math.asin(sine))


ARRAY_SITE = (LATITUDE_DEG, LONGITUDE_DEG, HEIGHT_M)
"""Latitude and longitude in degrees and height in metres of the DSA-110."""


@cache
def earth_orientation_range_mjd() -> tuple[float, float]:
    """Return the first and the last day for which the installed IERS table knows the Earth's rotation."""
    import astropy_iers_data
    from astropy import units
    from astropy.utils import iers

    table = iers.IERS_A.open(astropy_iers_data.IERS_A_FILE)
    known = np.isfinite(np.ma.filled(np.ma.asarray(table["UT1_UTC"].to_value(units.s)), np.nan))
    days = np.asarray(table["MJD"].value, dtype=float)[known]
    return float(days[0]), float(days[-1])


def meridian_icrs_deg(
    mid_mjd: float, declination_deg: float, site_deg_m: tuple[float, float, float] = ARRAY_SITE
) -> tuple[float, float]:
    """Return the ICRS right ascension and declination in degrees of the meridian at an apparent declination.

    Args:
        mid_mjd: UTC.
        declination_deg: apparent (true equator and equinox of date).
        site_deg_m: latitude and longitude in degrees and height in metres of the array.
    """
    from astropy import units
    from astropy.coordinates import TETE, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    latitude_deg, longitude_deg, height_m = site_deg_m
    location = EarthLocation.from_geodetic(longitude_deg * units.deg, latitude_deg * units.deg, height_m * units.m)
    time = Time(mid_mjd, format="mjd", scale="utc", location=location)
    frame = TETE(obstime=time, location=location)
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        direction = SkyCoord(time.sidereal_time("apparent"), declination_deg * units.deg, frame=frame).icrs
    return float(direction.ra.deg), float(direction.dec.deg)


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
