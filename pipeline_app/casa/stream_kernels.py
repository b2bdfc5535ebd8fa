"""The compiled inner loops of the streaming pass over raw subbands (numba).

Arrays of a subband are as its file has them: `data` (n_raw_rows, 1, n_channels, n_pols_in_file) complex64 and `bad`
of the same shape, true where there is nothing to use. `rows` (n_baselines, n_times) are indices into them, -1 where
the file has none; `swapped` (n_baselines, n_times) says which of them are the conjugate of what is wanted. `first`
and `second` are the antennas of a baseline and `hands` the indices of the parallel hands on the files' last axis.

Gains are `inverse` (n_antennas, n_channels, n_hands) complex64: one over the gain in the Measurement Set's
convention, 0 where there is no solution, so that a raw V_12 is corrected by V conj(inverse_1) inverse_2.

The loops are made for `threads.in_parts`: threads work on runs of baselines, `low` to `high` of `N_RUNS`, and whatever
is summed over baselines is summed by run first, so that nothing races.
"""

from __future__ import annotations

import numba
import numpy as np

WILD_POWER = 1000.0
"""Power over that expected of two antennas beyond which a value is garbage; noise reaches 30 once in 10^13."""
N_RUNS = 16
"""Runs of baselines; more than there are cores, so that they finish together."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def median_power(  # type: ignore[no-untyped-def]
    data, bad, rows, first, second, hands, inverse, channel_step, out, low, high
):
    """Fill `out` (n_baselines, n_hands) with median powers of corrected visibilities, every few channels; 0: none."""
    n_baselines, n_times = rows.shape
    n_channels = data.shape[2]
    for run in range(low, high):
        values = np.empty(n_times * n_channels, np.float32)
        for b in range(run * n_baselines // N_RUNS, (run + 1) * n_baselines // N_RUNS):
            for h in range(len(hands)):
                p = hands[h]
                n = 0
                for t in range(n_times):
                    r = rows[b, t]
                    if r < 0:
                        continue
                    for f in range((t + b) % channel_step, n_channels, channel_step):
                        g = inverse[first[b], f, h] * inverse[second[b], f, h]
                        v = data[r, 0, f, p]
                        power = (v.real * v.real + v.imag * v.imag) * (g.real * g.real + g.imag * g.imag)
                        if power > 0 and power < np.inf and not bad[r, 0, f, p]:
                            values[n] = power
                            n += 1
                out[b, h] = np.median(values[:n]) if n else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def power_statistics(  # type: ignore[no-untyped-def]
    data, bad, rows, first, second, hands, inverse, levels, power, count, wild, row_power, lag, low, high
):
    """Sum the power of corrected visibilities over that expected of their antennas.

    `levels` (n_antennas, n_hands): the expected power of a baseline is the product of its antennas', 0 without data.
    Fills `power`, `count` and `wild` (N_RUNS, n_times, n_channels, n_hands); `row_power` (n_baselines, n_times,
    n_hands), the mean over channels or -1; `lag` (N_RUNS, n_times, 2), sums of products of neighbours and of power.
    """
    n_baselines, n_times = rows.shape
    n_channels, n_hands = data.shape[2], len(hands)
    for run in range(low, high):
        scale = np.empty((n_channels, n_hands), np.float32)
        for b in range(run * n_baselines // N_RUNS, (run + 1) * n_baselines // N_RUNS):
            i, j = first[b], second[b]
            for f in range(n_channels):
                for h in range(n_hands):
                    g = inverse[i, f, h] * inverse[j, f, h]
                    level = levels[i, h] * levels[j, h]
                    scale[f, h] = (g.real * g.real + g.imag * g.imag) / level if level > 0 else 0.0
            for t in range(n_times):
                r = rows[b, t]
                for h in range(n_hands):
                    p = hands[h]
                    total, n = np.float32(0), 0
                    product, last_scale, last = np.float32(0), np.float32(0), np.complex64(0)
                    if r >= 0:
                        for f in range(n_channels):
                            s = scale[f, h]
                            v = data[r, 0, f, p]
                            q = (v.real * v.real + v.imag * v.imag) * s
                            if bad[r, 0, f, p] or s == 0 or q == 0:
                                last_scale = np.float32(0)
                                continue
                            if not q < WILD_POWER:  # so that NaN is wild too
                                wild[run, t, f, h] += 1
                                last_scale = np.float32(0)
                                continue
                            power[run, t, f, h] += q
                            count[run, t, f, h] += 1
                            total += q
                            n += 1
                            if last_scale > 0:
                                product += (v.real * last.real + v.imag * last.imag) * np.sqrt(s * last_scale)
                                lag[run, t, 1] += q
                            last, last_scale = v, s
                    lag[run, t, 0] += product
                    row_power[b, t, h] = total / n if n else -1.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def calibrate_and_average(  # type: ignore[no-untyped-def]
    data, bad, rows, swapped, first, second, hands, inverse, levels, clip, bad_cell, bad_row, channel_weight,
    w_change_m, freqs_hz, target_row, target_channel, block, out, out_weight, noise, noise_count, coherence, clipped,
    low, high,
):  # fmt: skip
    """Correct, flag, move to the common phase centre and add to the averaged channels; collect what noise is judged by.

    Args:
        levels: as in `power_statistics`; `clip` (n_baselines, n_hands) is the largest allowed power over it
            in a channel of weight 1.
        bad_cell: (n_times, n_channels, n_hands). bad_row: (n_baselines, n_times, n_hands).
        channel_weight: (n_channels, n_hands), relative.
        w_change_m: (n_baselines, n_times), from the phase centre that the data have to the common one.
        freqs_hz: evenly spaced, in the order of the file.
        target_row: (n_baselines, n_times) into `out`. target_channel: (n_channels,) into `out`.
        block: channels over which products are taken for `coherence`.
        out: (n_rows, n_averaged, n_hands) complex64, weighted sums. out_weight: their weights, float32.
        noise: (n_baselines, n_hands, 3): sums of squared second differences in frequency, of differences in time and of
            differences between hands, each divided so that its mean is the variance of one part, in `noise_count`.
        coherence: (n_baselines, n_times, n_hands, 2): sum of Re(x_f conj(x_g)) over pairs in a block, number of pairs.
        clipped: (n_baselines,): values above `clip`, or that are not finite.
    """
    n_baselines, n_times = rows.shape
    n_channels, n_hands = data.shape[2], len(hands)
    step_hz = freqs_hz[1] - freqs_hz[0] if n_channels > 1 else 0.0
    for run in range(low, high):
        factor = np.empty((n_channels, n_hands), np.complex64)
        limit = np.empty(n_hands, np.float32)
        now = np.empty((n_hands, n_channels), np.complex64)
        before = np.empty((n_hands, n_channels), np.complex64)
        good = np.zeros((n_hands, n_channels), np.bool_)
        good_before = np.zeros((n_hands, n_channels), np.bool_)
        turn = np.empty(n_channels, np.complex64)
        for b in range(run * n_baselines // N_RUNS, (run + 1) * n_baselines // N_RUNS):
            i, j = first[b], second[b]
            for h in range(n_hands):
                limit[h] = levels[i, h] * levels[j, h] * clip[b, h]
                for f in range(n_channels):
                    factor[f, h] = np.conj(inverse[i, f, h]) * inverse[j, f, h]
            good_before[:] = False
            for t in range(n_times):
                r = rows[b, t]
                if r < 0:
                    good_before[:] = False
                    continue
                turns = -2 * np.pi / 299792458.0 * w_change_m[b, t]
                current = np.complex128(complex(np.cos(turns * freqs_hz[0]), np.sin(turns * freqs_hz[0])))
                step = np.complex128(complex(np.cos(turns * step_hz), np.sin(turns * step_hz)))
                for f in range(n_channels):
                    turn[f] = current
                    current *= step
                o = target_row[b, t]
                flip = swapped[b, t]
                for h in range(n_hands):
                    p = hands[h]
                    whole_row = bad_row[b, t, h]
                    for f in range(n_channels):
                        good[h, f] = False
                        g = factor[f, h]
                        if bad[r, 0, f, p] or (g.real == 0 and g.imag == 0):
                            continue
                        v = data[r, 0, f, p]
                        x = (np.conj(v) if flip else v) * g
                        q = x.real * x.real + x.imag * x.imag
                        if q == 0:
                            continue
                        w = channel_weight[f, h]
                        if not q * w < limit[h]:
                            clipped[b] += 1
                            continue
                        if whole_row or bad_cell[t, f, h]:
                            continue
                        x *= turn[f]
                        now[h, f] = x
                        good[h, f] = True
                        k = target_channel[f]
                        out[o, k, h] += w * x
                        out_weight[o, k, h] += w
                    _collect(now[h], good[h], before[h], good_before[h], b, t, h, block, noise, noise_count, coherence)
                if n_hands > 1:
                    last = n_hands - 1
                    total, n = np.float32(0), 0
                    for f in range(n_channels):
                        if good[0, f] and good[last, f]:
                            d = now[0, f] - now[last, f]
                            total += d.real * d.real + d.imag * d.imag
                            n += 1
                    for h in range(n_hands):
                        noise[b, h, 2] += total / 4
                        noise_count[b, h, 2] += n
                for h in range(n_hands):
                    for f in range(n_channels):
                        before[h, f] = now[h, f]
                        good_before[h, f] = good[h, f]


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _collect(x, good, before, good_before, b, t, h, block, noise, noise_count, coherence):  # type: ignore[no-untyped-def]
    """Add one row of one hand to the sums for noise and coherence."""
    n_channels = len(x)
    total, n = np.float32(0), 0
    for f in range(1, n_channels - 1):
        if good[f - 1] and good[f] and good[f + 1]:
            d = x[f - 1] - np.float32(2) * x[f] + x[f + 1]
            total += d.real * d.real + d.imag * d.imag
            n += 1
    noise[b, h, 0] += total / 12
    noise_count[b, h, 0] += n
    total, n = np.float32(0), 0
    for f in range(n_channels):
        if good[f] and good_before[f]:
            d = x[f] - before[f]
            total += d.real * d.real + d.imag * d.imag
            n += 1
    noise[b, h, 1] += total / 4
    noise_count[b, h, 1] += n
    for start in range(0, n_channels, block):
        together, alone, n = np.complex64(0), np.float32(0), 0
        for f in range(start, min(start + block, n_channels)):
            if good[f]:
                together += x[f]
                alone += x[f].real * x[f].real + x[f].imag * x[f].imag
                n += 1
        coherence[b, t, h, 0] += (together.real * together.real + together.imag * together.imag - alone) / 2
        coherence[b, t, h, 1] += n * (n - 1) / 2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normalise(out, out_weight, low, high):  # type: ignore[no-untyped-def]
    """Divide weighted sums by their weights, in place; nothing stays 0."""
    for r in range(low, high):
        for k in range(out.shape[1]):
            for h in range(out.shape[2]):
                w = out_weight[r, k, h]
                if w > 0:
                    out[r, k, h] /= w


def load() -> None:
    """Compile all loops, or load them from numba's cache, so that the first tile does not wait for it."""
    one = np.zeros(1, dtype=np.int64)
    data, bad = np.ones((1, 1, 2, 2), dtype=np.complex64), np.zeros((1, 1, 2, 2), dtype=np.bool_)
    rows, swapped, hands = np.zeros((1, 1), dtype=np.int64), np.zeros((1, 1), dtype=np.bool_), np.arange(2)
    inverse, levels = np.ones((1, 2, 2), dtype=np.complex64), np.ones((1, 2), dtype=np.float32)
    median_power(data, bad, rows, one, one, hands, inverse, 1, levels.copy(), 0, N_RUNS)
    counts = [np.zeros((N_RUNS, 1, 2, 2)) for _ in range(3)]
    row_power, lag = np.zeros((1, 1, 2), dtype=np.float32), np.zeros((N_RUNS, 1, 2))
    power_statistics(data, bad, rows, one, one, hands, inverse, levels, *counts, row_power, lag, 0, N_RUNS)
    cells = np.zeros((1, 2, 2), dtype=np.bool_)
    out, weight = np.zeros((1, 1, 2), dtype=np.complex64), np.zeros((1, 1, 2), dtype=np.float32)
    calibrate_and_average(
        data, bad, rows, swapped, one, one, hands, inverse, levels, levels, cells, cells[:, :1], levels[[0, 0]],
        np.zeros((1, 1)), np.array([1e9, 2e9]), rows, np.zeros(2, dtype=np.int64), 2, out, weight,
        np.zeros((1, 2, 3)), np.zeros((1, 2, 3)), np.zeros((1, 1, 2, 2)), one.copy(), 0, N_RUNS,
    )  # fmt: skip
    normalise(out, weight, 0, 1)
