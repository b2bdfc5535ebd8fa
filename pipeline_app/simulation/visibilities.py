"""The measurement equation: sky, beam, gains and noise into visibilities.

Channels and integrations are taken at their centres: smearing within them is not simulated, so that tiles of reduced
size, with their wide channels, have the same truth as real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.spec import Source
from pipeline_app.telescope import SPEED_OF_LIGHT_M_S, power_beam


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Pairs of antennas, as indices into the picked stations."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    vectors_m: NDArray[np.float64]
    """Position of the second less that of the first, ITRF, shape (n_baselines, 3)."""

    @classmethod
    def of(cls, positions_m: NDArray[np.float64], order: NDArray[np.int64]) -> Baselines:
        """Pair all antennas, themselves included, in the correlator's input order: first may exceed second."""
        rows, columns = np.triu_indices(len(order))
        first, second = order[rows], order[columns]
        return cls(first=first, second=second, vectors_m=positions_m[second] - positions_m[first])


@dataclass(frozen=True, kw_only=True)
class Sky:
    """Sources as seen over the tile."""

    sources: Sequence[Source]
    directions: NDArray[np.float64]
    """Earth-fixed unit vectors, shape (n_times, n_sources, 3)."""
    centre: NDArray[np.float64]
    """Earth-fixed unit vector of the pointing, which is also where fringes are stopped, shape (3,)."""
    beam: bool

    def apparent_flux_jy(self, freq_hz: float) -> NDArray[np.float64]:
        """Return the fluxes after the primary beam, shape (n_times, n_sources)."""
        flux = np.array([source.flux_at(freq_hz) for source in self.sources])
        shape = self.directions.shape[:2]
        if not self.beam:
            return np.broadcast_to(flux, shape)
        chord = np.linalg.norm(self.directions - self.centre, axis=-1)
        return flux * power_beam(np.degrees(2 * np.arcsin(chord / 2)), freq_hz)


def sky_visibilities(sky: Sky, vectors_m: NDArray, freqs_hz: NDArray) -> NDArray[np.complex128]:
    """Return the visibilities of a perfect array, shape (n_times, n_baselines, n_channels), Jy.

    The sign is that of pyuvdata and of the raw files: V = sum S exp(+2 pi i freq/c b.(s - s0)) with b = r2 - r1.
    The channels must be evenly spaced.
    """
    n_times, n_sources = sky.directions.shape[:2]
    out = np.zeros((n_times, len(vectors_m), len(freqs_hz)), dtype=np.complex128)
    if not n_sources:
        return out
    delays_sec = np.einsum("bx,tsx->tbs", vectors_m, sky.directions - sky.centre) / SPEED_OF_LIGHT_M_S
    phasor = np.exp(2j * np.pi * freqs_hz[0] * delays_sec)
    step = np.exp(2j * np.pi * (freqs_hz[1] - freqs_hz[0]) * delays_sec) if len(freqs_hz) > 1 else None
    for channel, freq_hz in enumerate(freqs_hz):
        if channel and step is not None:
            phasor *= step
        out[:, :, channel] = (phasor @ sky.apparent_flux_jy(freq_hz)[:, :, None].astype(complex))[:, :, 0]
    return out


def noise_sigma_jy(sefd_jy: float, channel_width_hz: float, integration_time_sec: float) -> float:
    """Return the rms of the real, and of the imaginary, part of one visibility (radiometer equation)."""
    return sefd_jy / float(np.sqrt(2 * channel_width_hz * integration_time_sec))


def corrupt(
    visibilities: NDArray[np.complex128],
    gains: NDArray[np.complex128],
    baselines: Baselines,
    *,
    sigma_jy: float,
    sefd_jy: float,
    rng: np.random.Generator,
) -> NDArray[np.complex64]:
    """Add noise and apply gains, shape (n_times, n_baselines, n_channels, 2).

    Args:
        visibilities: of a perfect array, shape (n_times, n_baselines, n_channels).
        gains: shape (n_antennas, 2, n_channels).
        baselines: which antennas each pair is of; the autocorrelations also carry the system's own power.
        sigma_jy: noise of each part of a cross-correlation.
        sefd_jy: power of the receivers.
        rng: source of the noise.
    """
    autos = baselines.first == baselines.second
    out = np.empty((*visibilities.shape, gains.shape[1]), dtype=np.complex64)
    for polarization in range(gains.shape[1]):
        noise = rng.standard_normal((*visibilities.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
        seen = visibilities + sigma_jy * noise
        seen[:, autos] = seen[:, autos].real + sefd_jy
        gain = gains[:, polarization]
        out[..., polarization] = seen * (gain[baselines.first] * gain[baselines.second].conj())
    return out
