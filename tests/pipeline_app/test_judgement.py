from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline_app.simulation import Source, TileTruth
from pipeline_app.simulation.judgement import judge_fluxes, judge_gains
from pipeline_app.stages.photometry import Measurement
from tests.pipeline_app.reduced_tile import Reduced

INJECTED = tuple(Source(name=f"S{n}", ra_deg=10.0 + n, dec_deg=50.0, flux_jy=0.1 * (n + 1)) for n in range(10))


def measured(source: Source, ratio: float = 1.0, *, err: float = 0.002, offset: float = 0.5) -> Measurement:
    return Measurement(
        name=source.name,
        ra_deg=source.ra_deg,
        dec_deg=source.dec_deg,
        flux_jy=source.flux_jy * ratio,
        flux_err_jy=err,
        snr=source.flux_jy * ratio / err,
        offset_arcsec=offset,
        catalog_flux_jy=source.flux_jy,
        local_rms_jy=0.001,
        primary_beam=0.9,
    )


def failed(judgement: object) -> list[str]:
    return [check.name for check in judgement.checks if not check.passed]


def test_faithful_fluxes_pass() -> None:
    judgement = judge_fluxes([measured(s, 1.01) for s in INJECTED], INJECTED, beam_minor_arcsec=30.0)
    assert judgement.passed
    assert judgement.n_bright == 10
    assert judgement.fraction_within == 1.0
    assert judgement.ratio_median == pytest.approx(1.01)


def test_a_wrong_scale_fails() -> None:
    judgement = judge_fluxes([measured(s, 1.05) for s in INJECTED], INJECTED, beam_minor_arcsec=30.0)
    assert failed(judgement) == ["median flux ratio"]


def test_two_lost_sources_of_ten_fail() -> None:
    measurements = [measured(s, 0.0 if s.name in ("S8", "S9") else 1.0) for s in INJECTED]
    judgement = judge_fluxes(measurements, INJECTED, beam_minor_arcsec=30.0)
    assert judgement.n_bright == 10
    assert failed(judgement) == ["sources above 10σ within 3σ or 10 %"]


def test_sources_that_were_not_measured_count_as_lost() -> None:
    judgement = judge_fluxes([measured(s) for s in INJECTED[:8]], INJECTED, beam_minor_arcsec=30.0)
    assert judgement.fraction_within == 0.8
    assert not judgement.passed


def test_nothing_measured_fails_everything() -> None:
    judgement = judge_fluxes([], INJECTED, beam_minor_arcsec=30.0)
    assert len(failed(judgement)) == 3


def test_a_displaced_source_fails() -> None:
    measurements = [measured(s, offset=7.0 if s.name == "S3" else 0.5) for s in INJECTED]
    judgement = judge_fluxes(measurements, INJECTED, beam_minor_arcsec=30.0)
    assert failed(judgement) == ["largest position offset, arcsec"]


def truth_of(gains: np.ndarray, freqs_hz: np.ndarray, names: tuple[str, ...]) -> TileTruth:
    return TileTruth(
        name="t", kind="calibrator", files=(), start_time="", mid_time_mjd=0.0, duration_sec=1.0, declination_deg=0.0,
        pointing_ra_deg=0.0, pointing_dec_deg=0.0, sources=(), sigma_jy=1.0, thermal_rms_jy=1.0,
        antenna_names=names, freqs_hz=freqs_hz, delays_ns=np.zeros((len(names), 2)), gains=gains,
        phase_slopes_deg=np.zeros((len(names), 2)),
    )  # fmt: skip


@pytest.fixture
def injected() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    rng = np.random.default_rng(1)
    gains = rng.uniform(0.8, 1.2, (6, 2, 8)) * np.exp(2j * np.pi * rng.uniform(size=(6, 2, 8)))
    return gains, 1.3e9 + 1e6 * np.arange(8), tuple("123456")


def save_solution(directory: Path, gains: np.ndarray, freqs_hz: np.ndarray, names: tuple[str, ...]) -> None:
    np.savez(
        directory / "gains.npz",
        antenna_names=np.array(names),
        freqs_hz=freqs_hz,
        gains=gains,
        flags=np.zeros(gains.shape, dtype=bool),
        gain_snr=np.ones(gains.shape[:2]),
        refant=np.array("2"),
    )


def test_conjugate_gains_up_to_a_phase_are_the_injected_ones(injected, tmp_path: Path) -> None:
    gains, freqs_hz, names = injected
    order = [3, 1, 0, 5, 4, 2]
    turned = gains.conj() * np.exp(1j * np.linspace(0, 3, 8))
    save_solution(tmp_path, turned[order], freqs_hz, tuple(names[i] for i in order))
    judgement = judge_gains(tmp_path, truth_of(gains, freqs_hz, names))
    assert judgement.passed
    assert judgement.amplitude_rms < 1e-12
    assert judgement.phase_rms_deg < 1e-6


def test_gains_of_the_wrong_sign_fail(injected, tmp_path: Path) -> None:
    gains, freqs_hz, names = injected
    save_solution(tmp_path, gains, freqs_hz, names)
    assert failed(judge_gains(tmp_path, truth_of(gains, freqs_hz, names))) == [
        "gain phases, rms off the injected, degrees"
    ]


def test_gains_three_percent_high_fail(injected, tmp_path: Path) -> None:
    gains, freqs_hz, names = injected
    save_solution(tmp_path, 1.03 * gains.conj(), freqs_hz, names)
    judgement = judge_gains(tmp_path, truth_of(gains, freqs_hz, names))
    assert failed(judgement) == ["gain amplitudes, rms off the injected"]
    assert judgement.amplitude_rms == pytest.approx(0.03)


def test_a_solution_of_another_array_cannot_be_judged(injected, tmp_path: Path) -> None:
    gains, freqs_hz, names = injected
    save_solution(tmp_path, gains, freqs_hz, names)
    with pytest.raises(ValueError, match="in common"):
        judge_gains(tmp_path, truth_of(gains, freqs_hz, tuple("abcdef")))


@pytest.mark.casa
def test_the_reduced_tile_passes_every_judgement(reduced: Reduced) -> None:
    fluxes = judge_fluxes(
        reduced.measured.measurements,
        reduced.target_truth.sources,
        beam_minor_arcsec=reduced.imaged.beam_minor_arcsec,
    )
    assert fluxes.passed, fluxes.checks
    gains = judge_gains(reduced.solved.calibration_path, reduced.calibrator_truth)
    assert gains.passed, gains.checks


def test_judging_needs_no_casa() -> None:
    code = "import sys, pipeline_app.simulation.judgement; print([m for m in sys.modules if 'casa' in m])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
