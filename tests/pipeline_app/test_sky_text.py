from __future__ import annotations

import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from pipeline_app.sky_text import dms, flux_density, galactic_deg, hms, icrs_deg, mjd_of, moment_of


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg"), [(0.0, 0.0), (140.80125, 54.60333), (266.40499, -28.93617), (359.9, 89.5)]
)
def test_positions_are_those_of_astropy(ra_deg, dec_deg):
    place = SkyCoord(ra_deg, dec_deg, unit="deg")
    assert hms(ra_deg) == place.ra.to_string(u.hour, sep=":", precision=2, pad=True)
    assert dms(dec_deg) == place.dec.to_string(u.deg, sep=":", precision=1, pad=True, alwayssign=True)
    longitude, latitude = galactic_deg(ra_deg, dec_deg)
    assert SkyCoord(longitude, latitude, unit="deg", frame="galactic").separation(place).arcsec < 0.1
    assert SkyCoord(*icrs_deg(longitude, latitude), unit="deg").separation(place).arcsec < 1e-3


def test_rounding_carries_into_minutes_and_hours():
    assert hms(359.9999999) == "00:00:00.00"
    assert dms(-0.99999999) == "-01:00:00.0"
    assert dms(-0.5) == "-00:30:00.0"


@pytest.mark.parametrize(
    ("flux_jy", "error_jy", "text"),
    [
        (0.1234, 0.0021, "123.4 ± 2.1 mJy"),
        (1.2, 0.01, "1.200 ± 0.010 Jy"),
        (3.2e-4, None, "320 µJy"),
        (-2e-4, 1e-4, "-200 ± 100 µJy"),
        (0.0, None, "0 µJy"),
        (None, None, "–"),
        (float("nan"), None, "–"),
    ],
)
def test_fluxes_have_the_digits_that_their_errors_allow(flux_jy, error_jy, text):
    assert flux_density(flux_jy, error_jy) == text


def test_moments_go_both_ways():
    assert moment_of(61314.25).isoformat() == "2026-10-01T06:00:00+00:00"
    assert mjd_of(moment_of(61314.125)) == 61314.125
