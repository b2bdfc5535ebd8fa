"""The point of the sky to which the drifting array points at a given time.

astropy is imported where it is used: every web process and worker loads this module, few of them need 50 MB of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pipeline_app.telescope import HEIGHT_M, LATITUDE_DEG, LONGITUDE_DEG

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
