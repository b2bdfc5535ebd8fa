"""Antenna gains of simulated tiles: amplitude, phase, delay and a smooth bandpass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.spec import GainSpec
from pipeline_app.telescope import (
    CHANNEL_WIDTH_HZ,
    CHANNELS_PER_SUBBAND,
    N_SUBBANDS,
    Station,
    stations,
    subband_freqs_hz,
)

N_POLARIZATIONS = 2
_BAND_WIDTH_HZ = N_SUBBANDS * CHANNELS_PER_SUBBAND * CHANNEL_WIDTH_HZ
_BAND_TOP_HZ = float(subband_freqs_hz(0)[0]) + CHANNEL_WIDTH_HZ / 2
BAND_MIDDLE_HZ = _BAND_TOP_HZ - _BAND_WIDTH_HZ / 2


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Complex gains of the picked stations: V_12 in the raw file is g_1 conj(g_2) times the sky's."""

    values: NDArray[np.complex128]
    """Shape (n_antennas, 2 polarisations XX YY, n_channels)."""
    delays_ns: NDArray[np.float64]
    """Shape (n_antennas, 2); the phase is 2 pi delay (freq - BAND_MIDDLE_HZ)."""
    slopes_deg: NDArray[np.float64]
    """Shape (n_antennas, 2): change of the phase from the start of the tile to its end; `values` are of the middle."""

    def turns(self, n_times: int) -> NDArray[np.complex128]:
        """Return the factor of `values` at the middle of each integration, shape (n_times, n_antennas, 2)."""
        x = (np.arange(n_times) + 0.5) / n_times - 0.5
        return np.exp(1j * np.radians(x[:, None, None] * self.slopes_deg))


def make_gains(spec: GainSpec, pads: tuple[Station, ...], freqs_hz: NDArray, *, tile_seed: int) -> Gains:
    """Draw the gains of `pads` at `freqs_hz`: a station's gain depends on the seed and its number alone."""
    shape = (len(stations()), N_POLARIZATIONS)
    rng = np.random.default_rng(spec.seed)
    amplitude = rng.uniform(*spec.amplitude_range, shape)
    phase = np.radians(rng.uniform(-1, 1, shape) * spec.max_phase_deg)
    delay_sec = rng.uniform(-1, 1, shape) * spec.max_delay_ns * 1e-9
    turns, start = rng.uniform(0.5, 2, (2, *shape)), rng.uniform(0, 1, (2, *shape))

    drift = np.random.default_rng((spec.seed, tile_seed))
    phase += np.radians(spec.drift_phase_deg) * drift.standard_normal(shape)
    amplitude *= 1 + spec.drift_amplitude * drift.standard_normal(shape)
    slopes_deg = spec.slope_phase_deg * drift.standard_normal(shape)

    rows = np.array([pad.number - 1 for pad in pads])
    x = (freqs_hz - BAND_MIDDLE_HZ) / _BAND_WIDTH_HZ + 0.5
    waves = np.sin(2 * np.pi * (x * turns[:, rows, :, None] + start[:, rows, :, None]))
    ripple = (1 + spec.ripple_amplitude * waves[0]) * np.exp(1j * spec.ripple_phase_rad * waves[1])
    slope = np.exp(2j * np.pi * delay_sec[rows, :, None] * (freqs_hz - BAND_MIDDLE_HZ))
    flat = amplitude[rows, :, None] * np.exp(1j * phase[rows, :, None])
    return Gains(values=flat * ripple * slope, delays_ns=delay_sec[rows] * 1e9, slopes_deg=slopes_deg[rows])
