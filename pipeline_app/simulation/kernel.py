"""The compiled inner loop of the simulator."""

from __future__ import annotations

import numpy as np
from numba import njit


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
