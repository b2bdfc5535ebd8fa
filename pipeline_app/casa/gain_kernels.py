"""Compiled inner loops over antenna gains: StefCal, and smoothing over channels; made for `threads.in_parts`."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
_REASSOCIATE = {"reassoc", "contract", "nsz"}
"""Sums may be vectorised."""


@njit(cache=True, nogil=True, fastmath=_REASSOCIATE)
def _row(x_re: Array, x_im: Array, re: Array, im: Array) -> tuple[np.float32, np.float32]:
    """Return sum_j x_j g_j."""
    total_re, total_im = np.float32(0), np.float32(0)
    for j in range(len(re)):
        total_re += x_re[j] * re[j] - x_im[j] * im[j]
        total_im += x_re[j] * im[j] + x_im[j] * re[j]
    return total_re, total_im


@njit(cache=True, nogil=True, fastmath=_REASSOCIATE)
def _power_below(w: Array, re: Array, im: Array) -> np.float32:
    """Return sum_j w_j |g_j|^2."""
    total = np.float32(0)
    for j in range(len(re)):
        total += w[j] * (re[j] * re[j] + im[j] * im[j])
    return total


@njit(cache=True, nogil=True)
def _start(x_re: Array, x_im: Array, w: Array, re: Array, im: Array) -> None:
    """Set the gains to the phases of the leading eigenvector of the products, all with the mean amplitude."""
    n = len(re)
    strength, weight = 0.0, 0.0
    for i in range(n):
        re[i], im[i] = 1.0, 0.0
        for j in range(n):
            strength += sqrt(x_re[i, j] ** 2 + x_im[i, j] ** 2)
            weight += w[i, j]
    level = sqrt(strength / weight) if weight > 0 else 0.0
    new_re, new_im = re.copy(), im.copy()
    for _ in range(30):
        for i in range(n):
            a, b = _row(x_re[i], x_im[i], re, im)
            size = sqrt(a * a + b * b)
            new_re[i] = a / size if size > 0 else 0.0
            new_im[i] = b / size if size > 0 else 0.0
        re[:], im[:] = new_re, new_im
    for i in range(n):
        re[i] *= level
        im[i] *= level


@njit(cache=True, nogil=True)
def solve_gains(
    product: Array,
    power: Array,
    first: Array,
    second: Array,
    iterations: int,
    tolerance: float,
    gains: Array,
    weights: Array,
    low: int,
    high: int,
) -> None:
    """Solve V_ij = g_i conj(g_j) M_ij by StefCal for every channel and hand (Salvini & Wijnholds 2014, A&A 571, A97).

    Args:
        product: sum V conj(M), (n_channels, n_hands, n_baselines).
        power: sum |M|^2, likewise.
        first: antenna 1 of each baseline.
        second: antenna 2 of each baseline.
        iterations: at most this many.
        tolerance: relative change of the gains at which to stop.
        gains: (n_channels, n_hands, n_antennas); in: where to begin, all zero in a channel where nothing is known;
            out: the solution, zero where an antenna has no data.
        weights: likewise; set to sum_j |g_j|^2 power_ij, the inverse of a gain's variance in units of the variance of
            one component of a visibility.
        low: first channel.
        high: channel to stop before.
    """
    n_hands, n_antennas = gains.shape[1:]
    x_re, x_im = np.zeros((n_antennas, n_antennas), np.float32), np.zeros((n_antennas, n_antennas), np.float32)
    w = np.zeros((n_antennas, n_antennas), np.float32)
    re, im = np.zeros(n_antennas, np.float32), np.zeros(n_antennas, np.float32)
    new_re, new_im = np.zeros(n_antennas, np.float32), np.zeros(n_antennas, np.float32)
    for f in range(low, high):
        for p in range(n_hands):
            for b in range(len(first)):
                i, j = first[b], second[b]
                x_re[i, j], x_im[i, j] = product[f, p, b].real, product[f, p, b].imag
                x_re[j, i], x_im[j, i] = product[f, p, b].real, -product[f, p, b].imag
                w[i, j] = w[j, i] = power[f, p, b]
            known = 0.0
            for i in range(n_antennas):
                re[i], im[i] = gains[f, p, i].real, gains[f, p, i].imag
                known += re[i] ** 2 + im[i] ** 2
            if known == 0:
                _start(x_re, x_im, w, re, im)
            for step in range(iterations):
                change, total = 0.0, 0.0
                for i in range(n_antennas):
                    a, b_ = _row(x_re[i], x_im[i], re, im)
                    below = _power_below(w[i], re, im)
                    new_re[i] = a / below if below > 0 else 0.0
                    new_im[i] = b_ / below if below > 0 else 0.0
                    if step % 2:
                        new_re[i] = 0.5 * (new_re[i] + re[i])
                        new_im[i] = 0.5 * (new_im[i] + im[i])
                    change += (new_re[i] - re[i]) ** 2 + (new_im[i] - im[i]) ** 2
                    total += new_re[i] ** 2 + new_im[i] ** 2
                re[:], im[:] = new_re, new_im
                if change <= tolerance * tolerance * total:
                    break
            for i in range(n_antennas):
                gains[f, p, i] = complex(re[i], im[i])
                weights[f, p, i] = _power_below(w[i], re, im)


@njit(cache=True, nogil=True)
def local_quadratics(
    gains: Array,
    weights: Array,
    starts: Array,
    stops: Array,
    half_widths: Array,
    min_coverage: float,
    out: Array,
    out_weights: Array,
    low: int,
    high: int,
) -> None:
    """Fit a quadratic around every channel of every series, with tricube weights, and set `out` to its value there.

    Args:
        gains: (n_series, n_channels).
        weights: inverse variances; zero where there is no gain.
        starts: first channel of the part of the band in which a channel's window stays, (n_channels).
        stops: end of that part.
        half_widths: (n_series) channels to each side; 0 copies.
        min_coverage: least weight of the channels with a gain, of that of the whole window.
        out: (n_series, n_channels); zero where too few channels have a gain.
        out_weights: inverse variances of the fits, zero where there is none.
        low: first series.
        high: series to stop before.
    """
    n_channels = gains.shape[1]
    normal, inverse = np.empty((3, 3)), np.empty(3)
    for s in range(low, high):
        for k in range(n_channels):
            if half_widths[s] == 0:
                out[s, k], out_weights[s, k] = gains[s, k], weights[s, k]
                continue
            begin, end = max(starts[k], k - half_widths[s]), min(stops[k], k + half_widths[s] + 1)
            reach = max(k - begin, end - 1 - k) + 1.0
            normal[:] = 0.0
            whole, held, number = 0.0, 0.0, 0
            for c in range(begin, end):
                x = (c - k) / reach
                taper = (1 - abs(x) ** 3) ** 3
                whole += taper
                if weights[s, c] > 0:
                    held += taper
                    number += 1
                    used = taper * weights[s, c]
                    for r in range(3):
                        for q in range(3):
                            normal[r, q] += used * x ** (r + q)
            if number < 3 or held < min_coverage * whole:
                out[s, k], out_weights[s, k] = 0.0, 0.0
                continue
            _first_row_of_inverse(normal, 3 if number > 4 else 1, inverse)
            value, variance = 0j, 0.0
            for c in range(begin, end):
                if weights[s, c] > 0:
                    x = (c - k) / reach
                    share = (inverse[0] + x * (inverse[1] + x * inverse[2])) * (1 - abs(x) ** 3) ** 3 * weights[s, c]
                    value += share * gains[s, c]
                    variance += share * share / weights[s, c]
            out[s, k], out_weights[s, k] = value, 1.0 / variance


@njit(cache=True, nogil=True)
def _first_row_of_inverse(m: Array, order: int, out: Array) -> None:
    """Set `out` (3) to the first row of the inverse of a symmetric matrix, of its upper left element for order 1."""
    out[:] = 0.0
    minor_0 = m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1]
    minor_1 = m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0]
    minor_2 = m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0]
    determinant = m[0, 0] * minor_0 - m[0, 1] * minor_1 + m[0, 2] * minor_2
    if order < 3 or determinant <= 1e-9 * m[0, 0] * m[1, 1] * m[2, 2]:
        out[0] = 1.0 / m[0, 0]
        return
    out[0], out[1], out[2] = minor_0 / determinant, -minor_1 / determinant, minor_2 / determinant
