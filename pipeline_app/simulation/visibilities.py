"""The measurement equation: sky, beam, smearing, gains, noise and interference into the visibilities of one subband."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline_app.simulation.spec import SmearingSpec, Source
from pipeline_app.telescope import SIDEREAL_RATE_DEG_PER_SEC, SPEED_OF_LIGHT_M_S, power_beam


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


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """What happens to the signal of one subband on its way."""

    gains: NDArray[np.complex128]
    """Shape (n_antennas, 2, n_channels)."""
    turns: NDArray[np.complex128]
    """Factor of the gains by integration, shape (n_times, n_antennas, 2)."""
    signal: NDArray[np.float32]
    """1 where an antenna receives the sky and 0 where it only makes noise, shape (n_times, n_antennas, 2)."""
    scale: NDArray[np.float32]
    """Factor of signal and noise by integration and antenna, shape (n_times, n_antennas, 2): 0 for a dead antenna."""
    noise_jy: NDArray[np.complex64]
    """Noise and interference before the gains, shape (2, n_times, n_baselines, n_channels)."""
    sefd_jy: float
    """Power of the receivers, carried by the autocorrelations."""


def subband_visibilities(
    sky: Sky,
    baselines: Baselines,
    freqs_hz: NDArray[np.float64],
    corruption: Corruption,
    *,
    smearing: SmearingSpec | None,
) -> NDArray[np.complex64]:
    """Return the visibilities of one subband, shape (n_times, n_baselines, n_channels, 2), Jy.

    The sign is that of pyuvdata and the raw files: V = g1 conj(g2) sum S exp(+2 pi i freq/c b.(s - s0)), b = r2 - r1.
    The channels must be evenly spaced. Within a channel and an integration the phase of a source is linear to 1e-3 rad,
    so that averaging multiplies its amplitude by sinc(width x delay) sinc(freq x change of the delay); the second is
    taken at the middle of the subband. Both widths of `smearing` must be given.
    """
    n_times, n_sources = sky.directions.shape[:2]
    offsets = sky.directions - sky.centre
    flux_jy = np.empty((n_times, len(freqs_hz), n_sources), dtype=np.float32)
    for channel, freq_hz in enumerate(freqs_hz):
        flux_jy[:, channel] = sky.apparent_flux_jy(float(freq_hz))
    width_hz = duration_sec = 0.0
    if smearing is not None:
        width_hz, duration_sec = smearing.channel_width_hz or 0.0, smearing.integration_time_sec or 0.0
    out = np.empty((n_times, len(baselines.first), len(freqs_hz), 2), dtype=np.complex64)
    gains = corruption.gains.transpose(0, 2, 1).astype(np.complex64)
    antenna_factor = (corruption.turns * corruption.scale).astype(np.complex64)

    def fill(times: NDArray[np.int64]) -> None:
        fill_times(
            out,
            times,
            baselines.first,
            baselines.second,
            baselines.vectors_m / SPEED_OF_LIGHT_M_S,
            np.ascontiguousarray(offsets),
            flux_jy,
            np.ascontiguousarray(freqs_hz, dtype=np.float64),
            width_hz,
            np.radians(SIDEREAL_RATE_DEG_PER_SEC) * duration_sec,
            np.ascontiguousarray(gains),
            np.ascontiguousarray(antenna_factor),
            np.ascontiguousarray(corruption.signal, dtype=np.float32),
            corruption.noise_jy,
            corruption.sefd_jy,
        )

    n_threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(fill, np.array_split(np.arange(n_times), n_threads)))
    return out


def noise_sigma_jy(sefd_jy: float, channel_width_hz: float, integration_time_sec: float) -> float:
    """Return the rms of the real, and of the imaginary, part of one visibility (radiometer equation)."""
    return sefd_jy / float(np.sqrt(2 * channel_width_hz * integration_time_sec))


@njit(nogil=True, cache=True, fastmath=True)
def fill_times(  # pragma: no cover - compiled
    out,
    times,
    first,
    second,
    vectors_sec,
    offsets,
    flux_jy,
    freqs_hz,
    width_hz,
    turn_rad,
    gains,
    antenna_factor,
    signal,
    noise_jy,
    sefd_jy,
):
    """Fill the visibilities of some integrations.

    Args:
        out: complex64, shape (n_times, n_baselines, n_channels, 2).
        times: indices of the integrations to fill.
        first: antenna of each baseline.
        second: the other antenna.
        vectors_sec: baselines over the speed of light, Earth-fixed, shape (n_baselines, 3).
        offsets: directions of the sources less that of the pointing, shape (n_times, n_sources, 3).
        flux_jy: apparent fluxes, float32, shape (n_times, n_channels, n_sources).
        freqs_hz: evenly spaced, shape (n_channels,).
        width_hz: over which a channel averages; 0: none.
        turn_rad: angle by which the Earth turns while an integration averages; 0: none.
        gains: complex64, shape (n_antennas, n_channels, 2).
        antenna_factor: complex64, factor of the gains, shape (n_times, n_antennas, 2).
        signal: float32, 0 where an antenna does not see the sky, shape (n_times, n_antennas, 2).
        noise_jy: complex64, shape (2, n_times, n_baselines, n_channels).
        sefd_jy: power of the receivers.
    """
    n_sources, n_channels = offsets.shape[1], len(freqs_hz)
    step_hz = freqs_hz[1] - freqs_hz[0] if n_channels > 1 else 0.0
    middle_hz = (freqs_hz[0] + freqs_hz[-1]) / 2
    re, im = np.empty(n_sources, np.float32), np.empty(n_sources, np.float32)
    step_re, step_im = np.empty(n_sources, np.float32), np.empty(n_sources, np.float32)
    for t in times:
        for b in range(len(first)):
            x, y, z = vectors_sec[b, 0], vectors_sec[b, 1], vectors_sec[b, 2]
            for s in range(n_sources):
                l, m, n = offsets[t, s, 0], offsets[t, s, 1], offsets[t, s, 2]  # noqa: E741
                delay_sec = x * l + y * m + z * n
                amplitude = 1.0
                if width_hz > 0:
                    amplitude *= _sinc(width_hz * delay_sec)
                if turn_rad > 0:
                    # the sky turns westwards: d(l, m)/d(angle) = (m, -l)
                    amplitude *= _sinc(middle_hz * turn_rad * (x * m - y * l))
                phase = 2 * np.pi * ((freqs_hz[0] * delay_sec) % 1.0)
                step = 2 * np.pi * ((step_hz * delay_sec) % 1.0)
                re[s], im[s] = amplitude * np.cos(phase), amplitude * np.sin(phase)
                step_re[s], step_im[s] = np.cos(step), np.sin(step)
            i, j = first[b], second[b]
            for c in range(n_channels):
                sky_re, sky_im = np.float32(0), np.float32(0)
                for s in range(n_sources):
                    sky_re += flux_jy[t, c, s] * re[s]
                    sky_im += flux_jy[t, c, s] * im[s]
                    turned = re[s] * step_re[s] - im[s] * step_im[s]
                    im[s] = re[s] * step_im[s] + im[s] * step_re[s]
                    re[s] = turned
                for p in range(2):
                    seen = signal[t, i, p] * signal[t, j, p] * complex(sky_re, sky_im) + noise_jy[p, t, b, c]
                    if i == j:
                        seen = complex(seen.real + sefd_jy, 0.0)
                    gain = gains[i, c, p] * antenna_factor[t, i, p]
                    out[t, b, c, p] = seen * gain * np.conj(gains[j, c, p] * antenna_factor[t, j, p])


@njit(nogil=True, cache=True, inline="always")
def _sinc(turns):  # pragma: no cover - compiled
    x = np.pi * turns
    return np.sin(x) / x if abs(x) > 1e-6 else 1.0
