from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord

from pipeline_app.positions import DEFAULT_RADIUS_ARCMIN, Cone, read_cone
from pipeline_app.sky_text import galactic


@pytest.mark.parametrize(
    "text",
    [
        "09:23:12.3 +54:36:12",
        "09h23m12.3s +54d36m12s",
        "09 23 12.3 +54 36 12",
        "140.80125 54.603333",
        "140.80125, +54.603333",
        "140.80125°, 54.603333°",
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


def test_galactic_coordinates_are_read_as_the_console_writes_them():
    found = read_cone(galactic(140.80125, 54.603333))
    assert (found.ra_deg, found.dec_deg) == (pytest.approx(140.80125, abs=2e-4), pytest.approx(54.603333, abs=1e-4))
    assert read_cone("L=162.7 B=-100") is None


@pytest.mark.parametrize(
    ("name", "place", "most_arcmin"),
    [
        ("J083454.90+553421.1", "08h34m54.90s +55d34m21.1s", 0.02),
        ("NVSS J083454+553421", "08h34m54.90s +55d34m21.1s", 0.2),
        ("J0834+5534", "08h34m54.90s +55d34m21.1s", 6),
        ("J0834+555", "08h34m54.90s +55d34m21.1s", 8),
        ("j1939-637", "19h39m25.03s -63d42m45.6s", 8),
        ("J000000.1-000000.5", "00h00m00.15s -00d00m00.55s", 0.001),
        ("J1234.5+1234.5", "12h34m32s +12d34m33s", 1),
    ],
)
def test_a_name_made_of_a_position_is_read_and_covers_what_it_can_mean(name, place, most_arcmin):
    found = read_cone(name)
    apart = SkyCoord(found.ra_deg, found.dec_deg, unit="deg").separation(SkyCoord(place)).arcmin
    assert apart < most_arcmin
    assert apart <= found.radius_arcmin
    assert DEFAULT_RADIUS_ARCMIN <= found.radius_arcmin < 10
    assert read_cone(f"{name} r=30").radius_arcmin == 30


@pytest.mark.parametrize("name", ["J0875+5534", "J0834+5575", "J0834", "J08+55", "0834+555", "J2534+555", "J0834+955"])
def test_other_names_are_no_position(name):
    assert read_cone(name) is None
