"""Compiled inner loops of the calibration solve, over visibilities (n_baselines, n_times, n_channels, n_hands).

A visibility of exactly zero is one that may not be used. Model visibilities are computed where they are needed, by a
recurrence over channels, and never stored: at full size a stored model would be as large as half the data. The loops
are made for `threads.in_parts`.
"""

from __future__ import annotations

from math import cos, pi, sin
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
"""Shapes are given in each docstring; numba needs no more."""


class Observed(NamedTuple):
    """Visibilities and the sources that they show."""

    data: Array
    """(n_baselines, n_times, n_channels, n_hands)."""
    first: Array
    second: Array
    """Antennas of each baseline."""
    fringes: Array
    """(n_sources, n_baselines, n_times, 3), see `_phasors`."""
    apparent_jy: Array
    """(n_sources, n_times, n_channels)."""
    freqs_hz: Array
    restart: Array
    """(n_channels): where the recurrence over channels begins again."""


@njit(cache=True, nogil=True)
def _phasors(fringe: Array, freqs_hz: Array, restart: Array, out: Array) -> None:
    """Fill `out` (n_channels) with the visibilities of a source of 1 Jy: a phasor, and what smearing leaves of it.

    `fringe` is delay in seconds, the part that the width of a channel leaves, and x^2 / freq^2 in Hz^-2 where
    sin(pi x) / (pi x) is the part that the length of an integration leaves. `restart` says where the recurrence over
    channels begins again.
    """
    delay_sec = fringe[0]
    current, step = 0j, 0j
    for f in range(len(freqs_hz)):
        if restart[f]:
            turns = 2.0 * pi * delay_sec * freqs_hz[f]
            current = complex(cos(turns), sin(turns))
            width_hz = freqs_hz[f + 1] - freqs_hz[f] if f + 1 < len(freqs_hz) else 0.0
            turns = 2.0 * pi * delay_sec * width_hz
            step = complex(cos(turns), sin(turns))
        y = pi * pi * fringe[2] * freqs_hz[f] * freqs_hz[f] / 6.0
        out[f] = current * (fringe[1] * (1.0 - y + 0.3 * y * y))  # the series of sin(pi x) / (pi x)
        current *= step


@njit(cache=True, nogil=True)
def _predict(
    fringes: Array, apparent_jy: Array, b: int, t: int, freqs_hz: Array, restart: Array, unit: Array, model: Array
) -> None:
    """Fill `unit` (n_sources, n_channels) with phasors and `model` (n_channels) with the sum of the sources."""
    model[:] = 0
    for s in range(fringes.shape[0]):
        _phasors(fringes[s, b, t], freqs_hz, restart, unit[s])
        for f in range(len(freqs_hz)):
            model[f] += apparent_jy[s, t, f] * unit[s, f]


@njit(cache=True, nogil=True)
def accumulate(
    seen: Observed,
    part_of: Array,
    turns: Array,
    product: Array,
    power: Array,
    low: int,
    high: int,
) -> None:
    """Add sum V conj(M) to `product` and sum |M|^2 to `power`, each (n_parts, n_baselines, n_channels, n_hands).

    They are all that a gain constant in time can be solved from, so that the time average loses nothing: the model has
    the time of each integration. `part_of` (n_times) says to which part an integration counts; `turns`
    (n_times, n_antennas, n_hands) are unit complex numbers that are divided out of the data.
    """
    data, first, second, fringes, apparent_jy, freqs_hz, restart = seen
    n_times, n_channels, n_hands = data.shape[1:]
    unit = np.empty((fringes.shape[0], n_channels), np.complex64)
    model = np.empty(n_channels, np.complex64)
    for b in range(low, high):
        for t in range(n_times):
            part = part_of[t]
            _predict(fringes, apparent_jy, b, t, freqs_hz, restart, unit, model)
            for p in range(n_hands):
                turn = turns[t, first[b], p].conjugate() * turns[t, second[b], p]
                for f in range(n_channels):
                    value = data[b, t, f, p]
                    if value != 0:
                        product[part, b, f, p] += value * turn * model[f].conjugate()
                        power[part, b, f, p] += model[f].real ** 2 + model[f].imag ** 2


@njit(cache=True, nogil=True)
def residual_power(
    seen: Observed,
    gains: Array,
    turns: Array,
    limit: float,
    total: Array,
    count: Array,
    dropped: Array,
    low: int,
    high: int,
) -> None:
    """Zero the visibilities further than `limit` from the model, counted in `dropped` (n_times).

    Of the others sum |residual|^2 is added to `total` and their number to `count`, (n_times, n_channels, n_hands).
    Baselines where one of the `gains` (n_antennas, n_hands, n_channels) is zero are left alone.
    """
    data, first, second, fringes, apparent_jy, freqs_hz, restart = seen
    n_baselines, _, n_channels, n_hands = data.shape
    unit = np.empty((fringes.shape[0], n_channels), np.complex64)
    model = np.empty(n_channels, np.complex64)
    for t in range(low, high):
        for b in range(n_baselines):
            i, j = first[b], second[b]
            _predict(fringes, apparent_jy, b, t, freqs_hz, restart, unit, model)
            for p in range(n_hands):
                turn = turns[t, i, p] * turns[t, j, p].conjugate()
                for f in range(n_channels):
                    gain = gains[i, p, f] * gains[j, p, f].conjugate()
                    if data[b, t, f, p] != 0 and gain != 0:
                        residual = data[b, t, f, p] - gain * turn * model[f]
                        size = residual.real**2 + residual.imag**2
                        if size > limit * limit:
                            data[b, t, f, p] = 0
                            dropped[t] += 1
                        else:
                            total[t, f, p] += size
                            count[t, f, p] += 1


@njit(cache=True, nogil=True)
def sum_channels(
    seen: Observed,
    gains: Array,
    product: Array,
    power: Array,
    low: int,
    high: int,
) -> None:
    """Set `product` and `power` (n_baselines, n_times, n_hands) to sums over channels of V conj(g M) and |g M|^2."""
    data, first, second, fringes, apparent_jy, freqs_hz, restart = seen
    n_times, n_channels, n_hands = data.shape[1:]
    unit = np.empty((fringes.shape[0], n_channels), np.complex64)
    model = np.empty(n_channels, np.complex64)
    for b in range(low, high):
        i, j = first[b], second[b]
        for t in range(n_times):
            _predict(fringes, apparent_jy, b, t, freqs_hz, restart, unit, model)
            for p in range(n_hands):
                total, size = 0j, 0.0
                for f in range(n_channels):
                    expected = gains[i, p, f] * gains[j, p, f].conjugate() * model[f]
                    if data[b, t, f, p] != 0 and expected != 0:
                        total += data[b, t, f, p] * expected.conjugate()
                        size += expected.real**2 + expected.imag**2
                product[b, t, p] = total
                power[b, t, p] = size


@njit(cache=True, nogil=True)
def project(
    seen: Observed,
    unit_jy: Array,
    gains: Array,
    turns: Array,
    bin_of: Array,
    stride: int,
    projected: Array,
    normal: Array,
    image: Array,
    weight: Array,
    low: int,
    high: int,
) -> None:
    """Collect what a fit of source fluxes and an image need of the residuals.

    The model is the sum of `apparent_jy` (n_sources, n_times, n_channels); `unit_jy` is the same for 1 Jy each. Set are
    the projections of the residuals on the unit sources, `projected` (n_baselines, n_sources); their normal matrix
    from every `stride`-th channel scaled to all, `normal` (n_baselines, n_sources, n_sources), lower half; sums of the
    residuals in Stokes I over the channels of each bin, `image` (n_baselines, n_times, n_bins), and their `weight`.
    """
    data, first, second, fringes, apparent_jy, freqs_hz, restart = seen
    n_times, n_channels, n_hands = data.shape[1:]
    n_sources = fringes.shape[0]
    unit = np.empty((n_sources, n_channels), np.complex64)
    model = np.empty(n_channels, np.complex64)
    combined = np.empty(n_channels, np.complex64)
    strength = np.empty(n_channels, np.float32)
    for b in range(low, high):
        i, j = first[b], second[b]
        for t in range(n_times):
            _predict(fringes, apparent_jy, b, t, freqs_hz, restart, unit, model)
            combined[:] = 0
            strength[:] = 0
            for p in range(n_hands):
                turn = turns[t, i, p] * turns[t, j, p].conjugate()
                for f in range(n_channels):
                    value = data[b, t, f, p]
                    gain = gains[i, p, f] * gains[j, p, f].conjugate() * turn
                    if value != 0 and gain != 0:
                        combined[f] += gain.conjugate() * (value - gain * model[f])
                        strength[f] += gain.real**2 + gain.imag**2
            for f in range(n_channels):
                image[b, t, bin_of[f]] += combined[f]
                weight[b, t, bin_of[f]] += strength[f]
            for s in range(n_sources):
                total = 0.0
                for f in range(n_channels):
                    total += unit_jy[s, t, f] * (unit[s, f].conjugate() * combined[f]).real
                projected[b, s] += total
            for f in range((b + t) % stride, n_channels, stride):
                for s in range(n_sources):
                    one = unit_jy[s, t, f] * strength[f] * unit[s, f].conjugate()
                    for q in range(s + 1):
                        normal[b, s, q] += stride * unit_jy[q, t, f] * (one * unit[q, f]).real
