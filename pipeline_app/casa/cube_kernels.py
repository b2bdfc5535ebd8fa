"""Compiled inner loops that fill, level and flag visibilities (n_baselines, n_times, n_channels, n_hands).

A visibility of exactly zero is one that may not be used. The loops are made for `threads.in_parts`.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
