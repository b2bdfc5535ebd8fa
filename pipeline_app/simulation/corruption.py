"""What happens to the signal of a simulated tile, as arrays: gains, interference, and the other defects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.spec import POLARIZATIONS, AntennaFault, GainSpec, TileSpec
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


def add_interference(
    noise_jy: NDArray[np.complex64], spec: TileSpec, subband: int, *, sigma_jy: float, rng: np.random.Generator
) -> None:
    """Add the bursts and carriers of a subband to its noise, shape (2, n_times, n_baselines, n_channels)."""
    n_polarizations, n_times, n_baselines, _ = noise_jy.shape
    for burst in spec.defects.bursts:
        if burst.subband == subband:
            phases = _unit(rng, (n_polarizations, n_baselines, 1))
            noise_jy[:, burst.time_index] += burst.noise_multiple * sigma_jy * phases
    for carrier in spec.defects.carriers:
        if carrier.subband == subband:
            phases = _unit(rng, (n_polarizations, n_times, n_baselines))
            noise_jy[..., carrier.channel] += carrier.noise_multiple * sigma_jy * phases


def signal_of(spec: TileSpec, pads: tuple[Station, ...], subband: int) -> NDArray[np.float32]:
    """Return 1 where an antenna receives the sky and 0 where it does not, shape (n_times, n_antennas, 2)."""
    signal = np.ones((spec.n_times, len(pads), len(POLARIZATIONS)), dtype=np.float32)
    for fault in spec.defects.antennas:
        signal[:, _index(pads, fault), _polarizations_of(fault)] = 0
    for lost in spec.defects.lost:
        if lost.subband == subband:
            signal[lost.time_index] = 0
    return signal


def scale_of(spec: TileSpec, pads: tuple[Station, ...]) -> NDArray[np.float32]:
    """Return the factor of signal and noise, shape (n_times, n_antennas, 2)."""
    scale = np.ones((spec.n_times, len(pads), len(POLARIZATIONS)), dtype=np.float32)
    for fault in spec.defects.antennas:
        if fault.kind == "zero":
            scale[:, _index(pads, fault), _polarizations_of(fault)] = 0
    for weak in spec.defects.weak:
        scale[weak.time_index] *= np.sqrt(weak.factor)
    return scale


def response_of(spec: TileSpec) -> NDArray[np.float64]:
    """Return which part of the sky's power each channel of a subband passes, shape (n_channels,)."""
    n_channels = spec.channels_per_subband
    from_edge = np.minimum(np.arange(n_channels), np.arange(n_channels)[::-1])
    response = np.ones(n_channels)
    for edge in spec.defects.roll_off:
        inside = np.minimum(from_edge / edge.channels, 1.0)
        response *= edge.response + (1.0 - edge.response) * np.sin(np.pi / 2 * inside) ** 2
    return response


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    return np.exp(2j * np.pi * rng.random(shape)).astype(np.complex64)


def _polarizations_of(fault: AntennaFault) -> slice:
    if fault.polarization is None:
        return slice(None)
    index = POLARIZATIONS.index(fault.polarization)
    return slice(index, index + 1)


def _index(pads: tuple[Station, ...], fault: AntennaFault) -> int:
    numbers = [pad.number for pad in pads]
    if fault.station not in numbers:
        raise ValueError(f"station {fault.station} is not in the tile; it has {', '.join(map(str, numbers))}")
    return numbers.index(fault.station)
