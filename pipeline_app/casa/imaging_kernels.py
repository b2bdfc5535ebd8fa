"""Compiled inner loops of imaging, over visibilities (n_rows, n_channels); made for `threads.in_parts`.

Loops that sum into a grid have one grid for each part of the rows, so that threads do not meet; their first axis is
that of the parts.
"""

from __future__ import annotations

from math import hypot, isfinite
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
"""Shapes are given in each docstring; numba needs no more."""


@njit(cache=True, nogil=True)
def _cell(u: float, v: float, half: int) -> int:
    """Return the index into a flat grid of (2 half + 1)² cells; what lies beyond the grid counts in its rim."""
    column = min(max(int(np.rint(u)), -half), half) + half
    row = min(max(int(np.rint(v)), -half), half) + half
    return column * (2 * half + 1) + row


@njit(cache=True, nogil=True)
def add_density(
    uvw_m: Array, weight: Array, cells_per_metre: Array, half: int, density: Array, low: int, high: int
) -> None:
    """Add the weights to `density` (n_parts, n_cells)."""
    n_rows, n_parts = len(uvw_m), len(density)
    for part in range(low, high):
        own = density[part]
        for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
            u, v = uvw_m[row, 0], uvw_m[row, 1]
            for f in range(weight.shape[1]):
                if weight[row, f] > 0:
                    own[_cell(u * cells_per_metre[f], v * cells_per_metre[f], half)] += weight[row, f]


@njit(cache=True, nogil=True)
def weigh(
    uvw_m: Array,
    time_index: Array,
    natural: Array,
    cells_per_metre: Array,
    half: int,
    density: Array,
    factor: float,
    samples: Array,
    by_time_and_freq: Array,
    figures: Array,
    low: int,
    high: int,
) -> None:
    """Fill `samples` with the weights natural / (1 + density factor).

    Sums them in `by_time_and_freq` (n_parts, n_times, n_channels), and puts into `figures` (n_parts, 3) the sum of
    samples² / natural and the longest uv distance and w, in cells.
    """
    n_rows, n_parts = len(uvw_m), len(figures)
    for part in range(low, high):
        total = by_time_and_freq[part]
        for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
            u, v, t = uvw_m[row, 0], uvw_m[row, 1], time_index[row]
            top = 0.0
            for f in range(natural.shape[1]):
                own = natural[row, f]
                if own <= 0:
                    samples[row, f] = 0
                    continue
                scale = cells_per_metre[f]
                weight = own / (1.0 + density[_cell(u * scale, v * scale, half)] * factor)
                samples[row, f] = weight
                total[t, f] += weight
                figures[part, 0] += weight * weight / own
                top = max(top, scale)
            figures[part, 1] = max(figures[part, 1], hypot(u, v) * top)
            figures[part, 2] = max(figures[part, 2], abs(uvw_m[row, 2]) * top)


@njit(cache=True, nogil=True)
def combine_hands(
    rows: Array,
    data: Array,
    flag: Array,
    weight: Array,
    hands: Array,
    values: Array,
    combined: Array,
    low: int,
    high: int,
) -> None:
    """Fill `values` and `combined` (n, n_channels) with the mean of the hands of some `rows` (n), and its weight.

    `data`, `flag` and `weight` are (n_rows, n_channels, n_correlations).
    """
    for index in range(low, high):
        row = rows[index]
        for f in range(data.shape[1]):
            total, variance, count = np.complex64(0), 0.0, 0
            for hand in hands:
                value, own = data[row, f, hand], weight[row, f, hand]
                if not flag[row, f, hand] and own > 0 and isfinite(own) and isfinite(abs(value)):
                    total += value
                    variance += 1.0 / own
                    count += 1
            values[index, f] = total / count if count else 0
            combined[index, f] = count * count / variance if count else 0


@njit(cache=True, nogil=True)
def add_product(values: Array, term: Array, coefficients: Array, time_index: Array, low: int, high: int) -> None:
    """Add to `values` the `term` times real coefficients (n_times, n_channels)."""
    for row in range(low, high):
        own = coefficients[time_index[row]]
        for f in range(values.shape[1]):
            values[row, f] += own[f] * term[row, f]
