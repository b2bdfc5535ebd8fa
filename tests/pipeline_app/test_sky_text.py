from __future__ import annotations

import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from pipeline_app.sky_text import Cone, dms, flux_density, galactic_deg, hms, mjd_of, moment_of, read_cone


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg"), [(0.0, 0.0), (140.80125, 54.60333), (266.40499, -28.93617), (359.9, 89.5)]
)
def test_positions_are_those_of_astropy(ra_deg, dec_deg):
    place = SkyCoord(ra_deg, dec_deg, unit="deg")
    assert hms(ra_deg) == place.ra.to_string(u.hour, sep=":", precision=2, pad=True)
    assert dms(dec_deg) == place.dec.to_string(u.deg, sep=":", precision=1, pad=True, alwayssign=True)
    longitude, latitude = galactic_deg(ra_deg, dec_deg)
    assert SkyCoord(longitude, latitude, unit="deg", frame="galactic").separation(place).arcsec < 0.1


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


@pytest.mark.parametrize(
    "text",
    [
        "09:23:12.3 +54:36:12",
        "09h23m12.3s +54d36m12s",
        "09 23 12.3 +54 36 12",
        "140.80125 54.603333",
        "140.80125, +54.603333",
    ],
)
def test_a_position_is_read_in_the_forms_that_people_paste(text):
    assert read_cone(text) == Cone(ra_deg=pytest.approx(140.80125), dec_deg=pytest.approx(54.603333))


def test_a_radius_follows_and_a_minus_may_be_typographic():
    assert read_cone("10 −16.5 r=30") == Cone(ra_deg=10.0, dec_deg=-16.5, radius_arcmin=30.0)
    assert read_cone("00:00:04 -00:30:00") == Cone(ra_deg=pytest.approx(1 / 60), dec_deg=-0.5)


@pytest.mark.parametrize("text", ["", "S01", "H01-S03", "3C48 x", "400 12", "10 95", "10:99:00 +10:00:00", "10 20 r=0"])
def test_what_is_no_position_is_none(text):
    assert read_cone(text) is None


def test_moments_go_both_ways():
    assert moment_of(61314.25).isoformat() == "2026-10-01T06:00:00+00:00"
    assert mjd_of(moment_of(61314.125)) == 61314.125
