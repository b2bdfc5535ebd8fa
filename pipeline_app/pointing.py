"""To which point of the sky the drifting array looks at a given time."""

from __future__ import annotations

from astropy import units
from astropy.coordinates import TETE, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from pipeline_app.telescope import HEIGHT_M, LATITUDE_DEG, LONGITUDE_DEG

iers.conf.auto_download = False
iers.conf.auto_max_age = None


def meridian_icrs_deg(mid_mjd: float, declination_deg: float) -> tuple[float, float]:
    """Return the ICRS right ascension and declination in degrees of the meridian at an apparent declination.

    Args:
        mid_mjd: UTC.
        declination_deg: apparent (true equator and equinox of date).
    """
    location = EarthLocation.from_geodetic(LONGITUDE_DEG * units.deg, LATITUDE_DEG * units.deg, HEIGHT_M * units.m)
    time = Time(mid_mjd, format="mjd", scale="utc", location=location)
    frame = TETE(obstime=time, location=location)
    direction = SkyCoord(time.sidereal_time("apparent"), declination_deg * units.deg, frame=frame).icrs
    return float(direction.ra.deg), float(direction.dec.deg)
