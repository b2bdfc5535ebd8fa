from __future__ import annotations

import dataclasses

import pytest

from pipeline_app.quality import (
    Assessment,
    CalibrationFigures,
    ImageFigures,
    PhotometryFigures,
    judge_calibration,
    judge_image,
    judge_photometry,
)

GOOD_CALIBRATION = CalibrationFigures(
    n_antennas=96,
    n_antennas_solved=95,
    flagged_solutions=0.03,
    flagged_fraction=0.05,
    snr_median=200.0,
    phase_rms_deg=1.0,
    amplitude_ratio=1.001,
)
GOOD_IMAGE = ImageFigures(rms_jy=1e-3, thermal_rms_jy=0.9e-3, peak_jy=1.0, flagged_data=0.05)
GOOD_PHOTOMETRY = PhotometryFigures(
    n_measured=10, n_outside=2, n_at_edge=1, n_reference=8, flux_ratio_median=1.01, offset_median_beams=0.02
)


def test_good_figures_pass_without_a_reason() -> None:
    assert judge_calibration(GOOD_CALIBRATION) == Assessment(verdict="pass")
    assert judge_image(GOOD_IMAGE) == Assessment(verdict="pass")
    assert judge_photometry(GOOD_PHOTOMETRY) == Assessment(verdict="pass")


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"n_antennas_solved": 3}, "fail", "3 of 96 antennas"),
        ({"flagged_solutions": 0.3}, "warn", "30% of the solutions"),
        ({"flagged_solutions": 0.6}, "fail", "limit 50%"),
        ({"flagged_fraction": 0.6}, "warn", "60% of the data"),
        ({"flagged_fraction": 0.9}, "fail", "90% of the data"),
        ({"snr_median": 10.0}, "warn", "signal to noise of the solutions 10.0"),
        ({"snr_median": 4.0}, "fail", "limit 5"),
        ({"snr_median": None}, "fail", "could not be measured"),
        ({"phase_rms_deg": 20.0}, "warn", "scatter by 20°"),
        ({"phase_rms_deg": 100.0}, "fail", "limit 45°"),
        ({"amplitude_ratio": 0.9}, "warn", "off the model by 10%"),
        ({"amplitude_ratio": 1.3}, "fail", "limit 15%"),
        ({"amplitude_ratio": None}, "fail", "could not be compared"),
    ],
)
def test_a_calibration_is_judged_by_every_figure(changes: dict[str, float], verdict: str, words: str) -> None:
    assessment = judge_calibration(dataclasses.replace(GOOD_CALIBRATION, **changes))
    assert assessment.verdict == verdict
    assert len(assessment.reasons) == 1
    assert words in assessment.reasons[0]


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"rms_jy": 3e-3}, "warn", "3.3 times the thermal"),
        ({"rms_jy": 2e-2}, "fail", "limit 10"),
        ({"peak_jy": 8e-3}, "warn", "dynamic range 8.0"),
        ({"peak_jy": 3e-3}, "fail", "dynamic range 3.0"),
        ({"flagged_data": 0.97}, "fail", "97% of the visibilities"),
        ({"diverged": True}, "fail", "diverged"),
        ({"rms_jy": 0.0}, "fail", "blank"),
    ],
)
def test_an_image_is_judged_by_every_figure(changes: dict[str, float], verdict: str, words: str) -> None:
    assessment = judge_image(dataclasses.replace(GOOD_IMAGE, **changes))
    assert assessment.verdict == verdict
    assert words in " ".join(assessment.reasons)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"n_measured": 0}, "fail", "none of the 2 positions"),
        ({"flux_ratio_median": 0.7}, "warn", "0.70 times"),
        ({"offset_median_beams": 0.3}, "warn", "0.30 beams"),
        ({"offset_median_beams": 1.5}, "fail", "1.50 beams"),
        ({"n_confused": 2}, "warn", "2 positions are too close"),
    ],
)
def test_photometry_is_judged_by_every_figure(changes: dict[str, float], verdict: str, words: str) -> None:
    assessment = judge_photometry(dataclasses.replace(GOOD_PHOTOMETRY, **changes))
    assert assessment.verdict == verdict
    assert words in " ".join(assessment.reasons)


def test_two_bright_sources_do_not_judge_a_flux_scale() -> None:
    few = dataclasses.replace(GOOD_PHOTOMETRY, n_reference=2, flux_ratio_median=0.5, offset_median_beams=2.0)
    assert judge_photometry(few).verdict == "pass"


def test_a_failure_comes_before_the_warnings() -> None:
    figures = dataclasses.replace(GOOD_CALIBRATION, flagged_fraction=0.6, phase_rms_deg=90.0)
    assessment = judge_calibration(figures)
    assert assessment.verdict == "fail"
    assert "scatter" in assessment.reasons[0]
    assert "data are flagged" in assessment.reasons[1]
