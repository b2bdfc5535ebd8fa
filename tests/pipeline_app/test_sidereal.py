from __future__ import annotations

import pytest
from astropy import units
from astropy.coordinates import TETE, Angle, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from pipeline_app import telescope
from pipeline_app.telescope import HEIGHT_M, LATITUDE_DEG, LONGITUDE_DEG

MOMENTS = (51544.0, 57388.999, 61314.25, 61400.75)
SITE = EarthLocation.from_geodetic(LONGITUDE_DEG * units.deg, LATITUDE_DEG * units.deg, HEIGHT_M * units.m)
ARCSEC_PER_SEC = 15.0


@pytest.fixture(autouse=True)
def _installed_table_only():
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        yield


def apparent_sidereal_deg(mjd: float) -> float:
    return float(Time(mjd, format="mjd", scale="utc", location=SITE).sidereal_time("apparent").deg)


@pytest.mark.parametrize("mjd", MOMENTS)
def test_sidereal_time_is_that_of_astropy_to_2_s(mjd: float):
    difference = Angle(telescope.local_sidereal_deg(mjd) - apparent_sidereal_deg(mjd), "deg").wrap_at("180d")
    assert abs(difference.arcsec) < 2.1 * ARCSEC_PER_SEC


@pytest.mark.parametrize("mjd", MOMENTS)
@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(24.422081, 33.1597592), (343.4904, 16.1482), (128.7287, 55.5725)])
def test_a_direction_of_date_is_that_of_astropy_to_40_arcsec(mjd: float, ra_deg: float, dec_deg: float):
    moment = Time(mjd, format="mjd", scale="utc", location=SITE)
    apparent = SkyCoord(ra_deg, dec_deg, unit="deg").transform_to(TETE(obstime=moment, location=SITE))
    ra_of_date_deg, dec_of_date_deg = telescope.of_date_deg(ra_deg, dec_deg, mjd)
    found = SkyCoord(ra_of_date_deg, dec_of_date_deg, unit="deg")
    assert found.separation(SkyCoord(apparent.ra, apparent.dec)).arcsec < 40


def test_at_each_transit_the_sidereal_time_is_the_right_ascension():
    """A direction that has just passed comes twice in a day of UTC: a sidereal day is shorter."""
    start_mjd = 61314.0
    ra_deg = (telescope.local_sidereal_deg(start_mjd) + 0.5) % 360
    found = list(telescope.transits_mjd(ra_deg, start_mjd))
    assert len(found) == 2
    for mjd in found:
        assert Angle(apparent_sidereal_deg(mjd) - ra_deg, "deg").wrap_at("180d").arcsec == pytest.approx(0, abs=32)
    assert (found[1] - found[0]) * 86_400 == pytest.approx(86_164.09, abs=0.01)
    assert len(list(telescope.transits_mjd(ra_deg + 90, start_mjd))) == 1
