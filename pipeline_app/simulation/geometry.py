"""Where sources stand over the array, and what the baselines see of them.

Everything is done in the Earth-fixed frame (ITRF): the directions come from astropy with precession, nutation,
aberration, light deflection, UT1 and polar motion; baselines are differences of surveyed positions. Conversion to a
Measurement Set takes another road (right ascensions, sidereal times and uvw), so neither hides a slip of the other.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import astropy.units as u
import numpy as np
from astropy.coordinates import ITRS, CartesianRepresentation, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers
from numpy.typing import NDArray

from pipeline_app.simulation.spec import TileSpec
from pipeline_app.telescope import (
    HEIGHT_M,
    LATITUDE_DEG,
    LONGITUDE_DEG,
    SIDEREAL_RATE_DEG_PER_SEC,
    Station,
    stations,
)

iers.conf.auto_download = False
iers.conf.auto_max_age = None

_LOCATION = EarthLocation.from_geodetic(LONGITUDE_DEG * u.deg, LATITUDE_DEG * u.deg, HEIGHT_M * u.m)
_FIRST_OUTRIGGER = 103


def integration_times(spec: TileSpec) -> Time:
    """Return the middles of the integrations, shape (n_times,)."""
    offsets_sec = (np.arange(spec.n_times) + 0.5) * spec.integration_time_sec
    return Time(spec.start_time, scale="utc") + offsets_sec * u.s


def meridian_direction(declination_deg: float) -> NDArray[np.float64]:
    """Return the Earth-fixed unit vector of hour angle 0 at an apparent declination, shape (3,)."""
    longitude, declination = np.radians([LONGITUDE_DEG, declination_deg])
    return np.array(
        [
            np.cos(declination) * np.cos(longitude),
            np.cos(declination) * np.sin(longitude),
            np.sin(declination),
        ]
    )


def source_directions(ra_deg: NDArray, dec_deg: NDArray, times: Time) -> NDArray[np.float64]:
    """Return the Earth-fixed unit vectors in which ICRS positions are seen, shape (n_times, n_sources, 3)."""
    frame = ITRS(obstime=times[:, None], location=_LOCATION)
    seen = SkyCoord(np.atleast_1d(ra_deg) * u.deg, np.atleast_1d(dec_deg) * u.deg, frame="icrs").transform_to(frame)
    vectors = np.moveaxis(seen.cartesian.xyz.value, 0, -1)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def pointing_icrs_deg(declination_deg: float, time: datetime) -> tuple[float, float]:
    """Return the ICRS right ascension and declination to which the dishes point at an instant."""
    direction = CartesianRepresentation(*meridian_direction(declination_deg))
    frame = ITRS(direction, obstime=Time(time, scale="utc"), location=_LOCATION)
    icrs = SkyCoord(frame).icrs
    return float(icrs.ra.deg), float(icrs.dec.deg)


def transit_before(ra_deg: float, dec_deg: float, moment: datetime) -> datetime:
    """Return the last time not after `moment` when an ICRS position crosses the array's meridian, to a millisecond."""
    time = moment
    for _ in range(4):
        x, y, _z = source_directions(np.array([ra_deg]), np.array([dec_deg]), Time([time], scale="utc"))[0, 0]
        hour_angle_deg = (LONGITUDE_DEG - np.degrees(np.arctan2(y, x)) + 180) % 360 - 180
        time -= timedelta(seconds=float(hour_angle_deg) / SIDEREAL_RATE_DEG_PER_SEC)
    sidereal_day = timedelta(seconds=360 / SIDEREAL_RATE_DEG_PER_SEC)
    while time > moment:
        time -= sidereal_day
    while time + sidereal_day <= moment:
        time += sidereal_day
    return time


def pick_stations(n_antennas: int) -> tuple[Station, ...]:
    """Choose active stations spread over both arms and, about a fifth of them, the outriggers; in order of number.

    Raises:
        ValueError: more antennas are wanted than are active.
    """
    active = [s for s in stations() if s.active]
    if n_antennas > len(active):
        raise ValueError(f"{n_antennas} antennas wanted, {len(active)} are active")
    core = [s for s in active if s.number < _FIRST_OUTRIGGER]
    outriggers = [s for s in active if s.number >= _FIRST_OUTRIGGER]
    n_outriggers = max(n_antennas - len(core), min(len(outriggers), n_antennas // 5))
    chosen = _spread(core, n_antennas - n_outriggers) + _spread(outriggers, n_outriggers)
    return tuple(chosen)


def _spread(pads: list[Station], count: int) -> list[Station]:
    return [pads[i] for i in np.linspace(0, len(pads) - 1, count).round().astype(int)]
