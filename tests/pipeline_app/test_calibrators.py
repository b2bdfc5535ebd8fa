from __future__ import annotations

import dataclasses

import pytest

from pipeline_app.calibrators import (
    UnknownCalibrator,
    beam_weighted_flux_jy,
    brightest_in_beam,
    calibrator,
    calibrators,
)
from pipeline_app.telescope import REFERENCE_FREQ_HZ


def test_the_main_calibrator_has_its_published_flux_and_position():
    source = calibrator("0834+555")
    assert source.flux_jy == 8.8
    assert source.ra_deg == pytest.approx(128.7287, abs=1e-4)
    assert source.dec_deg == pytest.approx(55.5725, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "flux_jy"), [("3C48", 16.2), ("3C138", 8.55), ("3C147", 22.1), ("3C286", 15.05), ("3C454.3", 12.5)]
)
def test_standard_calibrators_have_their_l_band_flux(name, flux_jy):
    assert calibrator(name).flux_jy == pytest.approx(flux_jy, rel=0.01)


def test_a_calibrator_answers_to_its_vla_name():
    assert calibrator("1331+305") is calibrator("3C286")


def test_names_are_unique():
    names = [c.name for c in calibrators()]
    assert len(names) == len(set(names)) > 150


def test_it_refuses_a_name_it_does_not_know():
    with pytest.raises(UnknownCalibrator, match="0000"):
        calibrator("0000+000")


def test_a_missing_flux_is_never_invented():
    source = calibrator("1911+161")
    assert source.flux_jy is None
    with pytest.raises(ValueError, match="no known flux"):
        source.flux_at(REFERENCE_FREQ_HZ)
    found = brightest_in_beam(source.ra_deg, source.dec_deg)
    assert found is None or found[0].name != "1911+161"


def test_a_degree_off_axis_the_main_calibrator_arrives_at_about_six_and_a_half_jansky():
    source = calibrator("0834+555")
    assert beam_weighted_flux_jy(source, source.ra_deg, 54.6, REFERENCE_FREQ_HZ) == pytest.approx(6.2, abs=0.5)


def test_the_brightest_arriving_wins_not_the_brightest():
    near = calibrator("0834+555")
    far = dataclasses.replace(near, name="far", dec_deg=near.dec_deg + 2.4, flux_jy=20.0)
    found = brightest_in_beam(near.ra_deg, near.dec_deg, table=[far, near])
    assert found is not None
    assert found[0].name == "0834+555"
    assert found[1] == pytest.approx(8.8)


def test_an_empty_field_has_no_calibrator():
    assert brightest_in_beam(128.7, 89.9, table=[calibrator("0834+555")]) is None
