"""Compiled inner loops that fill, level and flag visibilities; made for `threads.in_parts`.

Unless said otherwise visibilities are (n_baselines, n_times, n_channels, n_hands), and one of exactly zero may not be
used.
"""

from __future__ import annotations

from math import cos, log, pi, sin
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline_app.telescope import SPEED_OF_LIGHT_M_S

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def store(
    rows: Array, flags: Array, hands: Array, baseline: Array, time: Array, data: Array, low: int, high: int
) -> None:
    """Copy rows (n_rows, n_channels, n_correlations) into `data`; what is flagged or not finite becomes zero.

    `baseline` (-1: not wanted) and `time` (n_rows) say where a row belongs.
    """
    for r in range(low, high):
        if baseline[r] < 0:
            continue
        for f in range(rows.shape[1]):
            for p in range(len(hands)):
                value = rows[r, f, hands[p]]
                # squared in double precision: the square of 1e32 is no float32
                size = float(value.real) ** 2 + float(value.imag) ** 2
                good = not flags[r, f, hands[p]] and size > 0.0 and size < 1e30
                data[baseline[r], time[r], f, p] = value if good else 0.0


@njit(cache=True, nogil=True)
def median_log_amplitudes(data: Array, stride: int, out: Array, low: int, high: int) -> None:
    """Set `out` (n_baselines, n_hands) to the median of log |V|, from every `stride`-th sample; NaN without data."""
    n_times, n_channels, n_hands = data.shape[1:]
    values = np.empty(n_times * n_channels // stride + 1)
    for b in range(low, high):
        for p in range(n_hands):
            n = 0
            for k in range(0, n_times * n_channels, stride):
                value = data[b, k // n_channels, k % n_channels, p]
                size = value.real**2 + value.imag**2
                if size > 0:
                    values[n] = size
                    n += 1
            values[:n].sort()
            out[b, p] = 0.5 * log(values[n // 2]) if n else np.nan


@njit(cache=True, nogil=True)
def scale(data: Array, factors: Array, limit: float, dropped: Array, low: int, high: int) -> None:
    """Multiply by `factors` (n_baselines, n_hands), zero what then exceeds `limit`, and count that in `dropped`."""
    n_times, n_channels, n_hands = data.shape[1:]
    for b in range(low, high):
        for t in range(n_times):
            for f in range(n_channels):
                for p in range(n_hands):
                    value = data[b, t, f, p] * factors[b, p]
                    if value.real**2 + value.imag**2 > limit * limit:
                        value = np.complex64(0)
                        dropped[b] += 1
                    data[b, t, f, p] = value


@njit(cache=True, nogil=True)
def cell_levels(data: Array, total: Array, count: Array, low: int, high: int) -> None:
    """Add log |V| of all baselines to `total`, and their number to `count`, (n_times, n_channels, n_hands)."""
    n_baselines, _, n_channels, n_hands = data.shape
    for t in range(low, high):
        for b in range(n_baselines):
            for f in range(n_channels):
                for p in range(n_hands):
                    value = data[b, t, f, p]
                    size = value.real**2 + value.imag**2
                    if size > 0:
                        total[t, f, p] += 0.5 * log(size)
                        count[t, f, p] += 1


@njit(cache=True, nogil=True)
def zero_cells(data: Array, bad: Array, dropped: Array, low: int, high: int) -> None:
    """Zero the cells of `bad` (n_times, n_channels, n_hands) on all baselines, and count that in `dropped`."""
    n_times, n_channels, n_hands = data.shape[1:]
    for b in range(low, high):
        for t in range(n_times):
            for f in range(n_channels):
                for p in range(n_hands):
                    if bad[t, f, p] and data[b, t, f, p] != 0:
                        data[b, t, f, p] = 0
                        dropped[b] += 1


@njit(cache=True, nogil=True)
def place(
    data: Array, flags: Array, samples: Array, limit: Array, swapped: Array, partner: Array, order: Array,
    freqs_hz: Array, w_change_m: Array, target: Array, first_channel: int, out: Array, out_flags: Array,
    out_samples: Array, counts: Array, low: int, high: int,
) -> None:  # fmt: skip
    """Copy the rows of a subband (n_rows, n_channels, n_correlations) into a tile, moved to its phase centre.

    Args:
        limit: (n_rows,), square of the amplitude above which a value is garbage; garbage becomes 0 and is flagged.
        swapped: (n_rows,), whether the row is the conjugate of what is wanted; `partner` then are its correlations.
        order: channels in ascending frequency; `freqs_hz` are ascending and evenly spaced.
        w_change_m: (n_rows,), from the phase centre of the data to that of the tile.
        target: (n_rows,) into the rows of `out`, -1 for a row that is not wanted.
        first_channel: of the subband in `out`.
        out: (n_tile_rows, n_tile_channels, n_correlations), and its flags and numbers of samples.
        counts: (n_rows, 3): values that are garbage, flagged or without a sample, and good.
    """
    step_hz = freqs_hz[1] - freqs_hz[0] if len(freqs_hz) > 1 else 0.0
    for r in range(low, high):
        o = target[r]
        if o < 0:
            continue
        angle = -2 * pi / SPEED_OF_LIGHT_M_S * w_change_m[r]
        turn = complex(cos(angle * freqs_hz[0]), sin(angle * freqs_hz[0]))
        step = complex(cos(angle * step_hz), sin(angle * step_hz))
        for i in range(len(order)):
            f, k = order[i], first_channel + i
            for p in range(out.shape[2]):
                q = partner[p] if swapped[r] else p
                value, sample = data[r, f, q], samples[r, f, q]
                size = float(value.real) ** 2 + float(value.imag) ** 2
                missing = flags[r, f, q] or sample == 0
                garbage = not size <= limit[r]  # NaN is garbage too
                if garbage:
                    value = np.complex64(0)
                elif swapped[r]:
                    value = value.conjugate()
                out[o, k, p] = value * turn
                bad = missing or garbage or size == 0
                out_flags[o, k, p] = bad
                # some writers put impossible numbers everywhere, which mean nothing
                out_samples[o, k, p] = sample if 0 < sample < 1e6 else 1
                counts[r, 0] += garbage
                counts[r, 1] += missing
                counts[r, 2] += not bad
            turn *= step
