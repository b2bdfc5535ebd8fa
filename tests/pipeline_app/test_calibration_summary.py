from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline_app.calibration_summary import SUMMARY_NAME, SolutionsSummary, read_summary

pytestmark = pytest.mark.casa
N_CHANNELS = 64
DELAY_NS = 12.0


@pytest.fixture
def summary(tmp_path: Path) -> SolutionsSummary:
    """Gains 1 and 2; the second antenna is delayed and lacks its lowest quarter of channels and its second hand."""
    from pipeline_app.casa.calibration_solve import write_summary
    from pipeline_app.casa.solutions import Solutions

    freqs_hz = 1.3e9 + 1e6 * np.arange(N_CHANNELS)
    gains = np.ones((2, 2, N_CHANNELS), dtype=complex)
    gains[1] = 2 * np.exp(2j * np.pi * DELAY_NS * 1e-9 * (freqs_hz - freqs_hz.mean()))
    flags = np.zeros(gains.shape, dtype=bool)
    flags[1, 0, : N_CHANNELS // 4] = True
    flags[1, 1] = True
    snr = np.array([[50.0, 40.0], [30.0, 0.0]])
    solutions = Solutions(
        antenna_names=("1", "2"), freqs_hz=freqs_hz, gains=gains, flags=flags, gain_snr=snr, refant="1"
    )
    write_summary(solutions, tmp_path)
    with (tmp_path / SUMMARY_NAME).open("rb") as file:
        return read_summary(file)


def test_it_has_a_value_a_subband_from_the_highest_frequency_down(summary: SolutionsSummary) -> None:
    assert len(summary.freq_ghz) == 16
    assert summary.freq_ghz == sorted(summary.freq_ghz, reverse=True)
    second = summary.antennas[1]
    assert second.amplitude[0][0] == pytest.approx(2 * summary.antennas[0].amplitude[0][0], rel=0.01)
    assert second.flagged == [0.5] * 12 + [1.0] * 4
    assert second.amplitude[0][12:] == [None] * 4
    assert second.phase_deg[1] == [None] * 16


def test_delays_and_signal_to_noise_are_a_hands_own(summary: SolutionsSummary) -> None:
    first, second = summary.antennas
    assert first.delay_ns == [pytest.approx(0, abs=0.1), pytest.approx(0, abs=0.1)]
    assert second.delay_ns == [pytest.approx(DELAY_NS, abs=0.2), None]
    assert second.snr == [30.0, None]
