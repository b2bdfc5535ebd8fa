"""Interference and failures in a subband by power averaged over baselines; noise and dead antennas of a tile.

Noise makes almost all of a single visibility, so one cannot be judged by itself; but the mean power of thousands of
baselines at one time and channel is known to a per cent, and a burst or a carrier at the level of the noise
multiplies it. Means are compared in time, in frequency and cell by cell with what their neighbours have, upwards
and downwards. A source moves all of them alike, slowly, so it is not flagged; how much of the power is sky widens
the limits, for a few bright sources beat against each other over few baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pipeline_app.casa import stream_kernels as kernels
from pipeline_app.casa.threads import in_parts

SIGMAS = 6.0
"""Departures below this many robust standard deviations are never flagged."""
MAX_WILD_FRACTION = 0.1
"""Of a cell's values: with more garbage than this the rest of the cell is not trusted."""
CLIP_POWER = 18.0
"""Of one visibility over what its antennas have on average: noise reaches it once in exp(18), 7e7, values."""
NEIGHBOURS = 17
"""Channels of the running median: carriers up to eight channels wide stand out."""
MIN_CHANNELS = 8
MIN_TIMES = 5
"""Fewer cannot tell an outlier from a trend."""
MAX_ANTENNA_RISE, MIN_ANTENNA_POWER = 1.5, 0.4
"""Of an antenna at one time, over its own median."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """The visibilities of one subband before calibration, wherever they were read from; see `stream_kernels`."""

    data: NDArray[np.complex64]
    """(n_raw_rows, 1, n_channels, n_correlations)."""
    bad: NDArray[np.bool_]
    """Of the same shape: not to be used."""
    rows: NDArray[np.int64]
    """(n_baselines, n_times) into the rows of `data`, -1 where there is none."""
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    """Antennas of each baseline."""
    hands: NDArray[np.int64]
    """Indices of the parallel hands among the correlations."""
    n_antennas: int


@dataclass(kw_only=True)
class SubbandFlags:
    """What to leave out of one subband, and what to expect of the rest; see `stream_kernels`."""

    levels: NDArray[np.float32]
    clip: NDArray[np.float32]
    bad_cell: NDArray[np.bool_]
    bad_row: NDArray[np.bool_]
    channel_weight: NDArray[np.float32]
    """(n_channels, n_hands): inverse of the noise power of a channel over that of the subband."""
    wild: int
    """Values that are not finite, or absurdly large."""
    bad_times: NDArray[np.bool_]
    """(n_times,): integrations flagged as a whole."""
    bad_channels: NDArray[np.bool_]
    """(n_channels,): channels flagged as a whole, in the order of the file."""
    bad_antenna_times: int


def judge(block: Block, inverse: NDArray[np.complex64]) -> SubbandFlags:
    """Find bad times, channels, cells, rows and antennas of a subband; `inverse` is as in `stream_kernels`."""
    data, bad, rows, hands = block.data, block.bad, block.rows, block.hands
    (n_baselines, n_times), n_channels, n_hands = rows.shape, data.shape[2], len(hands)
    medians = np.zeros((n_baselines, n_hands), dtype=np.float32)
    ends = (block.first, block.second)
    shared = (data, bad, rows, *ends, hands, inverse)
    in_parts(kernels.median_power, kernels.N_RUNS, *shared, max(1, n_channels // 6), medians)
    levels = antenna_levels(medians, *ends, block.n_antennas)
    shape = (kernels.N_RUNS, n_times, n_channels, n_hands)
    power, count, wild = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    row_power = np.empty((n_baselines, n_times, n_hands), dtype=np.float32)
    lag = np.zeros((kernels.N_RUNS, n_times, 2))
    in_parts(kernels.power_statistics, kernels.N_RUNS, *shared, levels, power, count, wild, row_power, lag)
    total, wilds = count.sum(axis=0), wild.sum(axis=0)
    mean = np.divide(power.sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0)
    allowance = 0.4 * sky_fraction(lag.sum(axis=0))
    bad_times, bad_channels, bad_cell = bad_cells(mean, passband(inverse), allowance)
    bad_cell |= (wilds > MAX_WILD_FRACTION * (total + wilds)).any(axis=-1)
    bad_row, bad_antenna_times = bad_rows(row_power, ends, block.n_antennas, n_channels, bad_times, allowance)
    expected = levels[ends[0]] * levels[ends[1]]
    excess = np.divide(medians / np.log(2.0), expected, out=np.ones_like(expected), where=expected > 0)
    return SubbandFlags(
        levels=levels,
        clip=(CLIP_POWER * np.maximum(1.0, excess)).astype(np.float32),
        bad_cell=np.repeat(bad_cell[..., None], n_hands, axis=-1),
        bad_row=bad_row,
        channel_weight=channel_weights(mean, bad_cell),
        wild=int(wilds.sum()),
        bad_times=bad_times,
        bad_channels=bad_channels,
        bad_antenna_times=bad_antenna_times,
    )


def antenna_levels(
    medians: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], n_antennas: int
) -> NDArray[np.float32]:
    """Return levels (n_antennas, n_hands) whose products are the mean powers of baselines with these median powers.

    The power of noise is exponentially distributed, its median ln 2 of its mean. Antennas without data get 0.
    """
    n_hands = medians.shape[1]
    logs = np.full((n_antennas, n_antennas, n_hands), np.nan)
    known = np.log(np.where(medians > 0, medians, np.nan) / np.log(2.0))
    logs[first, second], logs[second, first] = known, known
    levels = np.full((n_antennas, n_hands), _nanmedian(known.ravel()) / 2)
    for _ in range(4):  # of which each halves what is left of the difference between unlike antennas
        levels = (levels + _nanmedian(logs - levels[None], axis=1)) / 2
    return np.nan_to_num(np.exp(levels), nan=0.0).astype(np.float32)


def sky_fraction(lag: NDArray[np.float64]) -> float:
    """Return which part of the power neighbouring channels have in common: sky, for noise is independent."""
    fraction = np.divide(lag[:, 0], lag[:, 1], out=np.full(len(lag), np.nan), where=lag[:, 1] > 0)
    return float(np.clip(_nanmedian(fraction), 0.0, 1.0)) if np.isfinite(fraction).any() else 1.0


def passband(inverse: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Return the power that the antennas' gains pass in each channel, (n_channels, n_hands); 1 where unknown."""
    power = np.abs(inverse).astype(float) ** 2
    return np.nan_to_num(_nanmedian(np.where(power > 0, power, np.nan), axis=0) ** -2.0, nan=1.0)


def bad_cells(
    mean: NDArray[np.float64], passed: NDArray[np.float64], allowance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return bad times, channels and cells (n_times, n_channels) of mean power (n_times, n_channels, n_hands).

    What one hand shows is flagged in all. Cells without data (NaN) are not bad, only empty. `passed` is as `passband`
    returns it.
    """
    n_times, n_channels, n_hands = mean.shape
    bad_times, bad_channels = np.zeros(n_times, dtype=bool), np.zeros(n_channels, dtype=bool)
    cells = np.zeros((n_times, n_channels), dtype=bool)
    for hand in range(n_hands):
        values = mean[..., hand]
        by_time = _nanmedian(values, axis=1)
        times, trend = _outlying_times(by_time, allowance)
        relative = np.where(times[:, None], np.nan, values) / trend[:, None]
        by_channel = _nanmedian(relative, axis=0)
        channels = _outlying_channels(by_channel, passed[:, hand], allowance)
        relative = np.where(channels[None], np.nan, relative) / by_channel - 1.0
        spread = _scatter(relative)
        with np.errstate(invalid="ignore"):
            cells |= relative > max(SIGMAS * spread, 0.1 + allowance)
            cells |= relative < -max(SIGMAS * spread, 0.5 + allowance)
        bad_times |= times
        bad_channels |= channels
    cells |= bad_times[:, None] | bad_channels[None]
    return bad_times, bad_channels, cells


def _outlying_times(by_time: NDArray[np.float64], allowance: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which times stand out of a quadratic trend, and the trend."""
    known = np.isfinite(by_time)
    level = float(_nanmedian(by_time))
    trend = np.full(len(by_time), level if np.isfinite(level) else 1.0)
    if known.sum() < 3:
        return np.zeros(len(by_time), dtype=bool), trend
    rise, fall = (0.05 + allowance, 0.3 + allowance) if known.sum() >= MIN_TIMES else (1.0, 0.75)
    x = np.linspace(-1.0, 1.0, len(by_time))
    good = known.copy()
    for _ in range(10):
        relative = np.where(known, by_time / trend - 1.0, 0.0)
        scatter = _scatter(np.where(good, relative, np.nan))
        outlying = known & ((relative > max(SIGMAS * scatter, rise)) | (relative < -max(SIGMAS * scatter, fall)))
        kept = known & ~outlying
        if known.sum() < MIN_TIMES or kept.sum() < MIN_TIMES or np.array_equal(kept, good):
            break
        good = kept
        trend = np.polynomial.Polynomial.fit(x[good], by_time[good], 2)(x)
        trend = np.clip(trend, 0.2 * level, 5.0 * level)
    return outlying, trend


def _outlying_channels(
    by_channel: NDArray[np.float64], passed: NDArray[np.float64], allowance: float
) -> NDArray[np.bool_]:
    """Return which channels stand out of their neighbours.

    Interference has more power before and after calibration. Where it is more after calibration only, the channel
    passes less of the sky, as at the edge of a subband: it is noisier, and `channel_weights` says by how much.
    """
    known = np.isfinite(by_channel)
    if known.sum() < MIN_CHANNELS:
        return np.zeros(len(by_channel), dtype=bool)
    rises, falls = _departures(by_channel, known, allowance)
    rises_received, _ = _departures(by_channel * passed, known, allowance)
    return known & ((rises & rises_received) | falls)


def _departures(
    spectrum: NDArray[np.float64], known: NDArray[np.bool_], allowance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which channels rise above, and which fall below, the running median."""
    filled = np.where(known, spectrum, _nanmedian(spectrum))
    relative = filled / median_filter(filled, size=min(NEIGHBOURS, len(filled)), mode="mirror") - 1.0
    limit = max(8.0 * _scatter(relative), 0.1 + allowance)
    return relative > limit, relative < -max(limit, 0.5)


def bad_rows(
    row_power: NDArray[np.float32],
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
    n_antennas: int,
    n_channels: int,
    bad_times: NDArray[np.bool_],
    allowance: float,
) -> tuple[NDArray[np.bool_], int]:
    """Return bad rows (n_baselines, n_times, n_hands), and at how many (antenna, time, hand) an antenna was off.

    A row is compared with the other times of its baseline, an antenna with its own other times. Where most of the power
    is sky, fringes of several sources beat on each baseline for itself, and rows are left to the antennas' test.
    """
    values = np.where((row_power >= 0) & ~bad_times[None, :, None], row_power, np.nan)
    bad = np.zeros(row_power.shape, dtype=bool)
    if values.shape[1] < MIN_TIMES:
        return bad, 0
    if allowance < 0.1:
        base = _nanmedian(values, axis=1)[:, None]
        scatter = 1.4826 * _nanmedian(np.abs(values - base), axis=1)[:, None]
        with np.errstate(invalid="ignore"):
            bad |= values > base + np.maximum(SIGMAS / np.sqrt(n_channels) * np.maximum(base, 1.0), SIGMAS * scatter)
    sums = np.zeros((n_antennas, *values.shape[1:]))
    counts = np.zeros(sums.shape)
    for end in ends:
        np.add.at(sums, end, np.nan_to_num(np.where(bad, np.nan, values)))
        np.add.at(counts, end, np.isfinite(values) & ~bad)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = means / _nanmedian(means, axis=1)[:, None]
        off = (relative > MAX_ANTENNA_RISE + allowance) | (relative < MIN_ANTENNA_POWER - allowance / 2)
    bad |= off[ends[0]] | off[ends[1]]
    return bad, int(off.sum())


def channel_weights(mean: NDArray[np.float64], bad_cell: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the inverse of each channel's power over the subband's median, (n_channels, n_hands); 1 where unknown."""
    by_channel = _nanmedian(np.where(bad_cell[..., None], np.nan, mean), axis=0)
    level = _nanmedian(by_channel, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(np.isfinite(by_channel), level / by_channel, 1.0)
    return np.clip(np.nan_to_num(weight, nan=1.0), 0.01, 4.0).astype(np.float32)


def _scatter(values: NDArray[np.float64]) -> float:
    """Return the robust standard deviation about the median, 0 without values."""
    spread = 1.4826 * _nanmedian(np.abs(values - _nanmedian(values.ravel())).ravel())
    return float(np.nan_to_num(spread))


def _nanmedian(values: NDArray, axis: int | None = None) -> NDArray[np.float64]:
    """Median over what is not NaN; NaN, without a warning, where nothing is."""
    empty = np.all(np.isnan(values), axis=axis, keepdims=True)
    medians = np.nanmedian(np.where(empty, 0.0, values), axis=axis)
    return np.where(np.squeeze(empty, axis=axis), np.nan, medians)


MIN_COUNT = 8
MIN_SIGNIFICANCE = 8.0
"""Of the typical antenna's sky over the noise, below which an antenna cannot be judged."""
MAX_DEAD_FRACTION = 0.1
"""Of the typical antenna's sky that a dead antenna may seem to have."""
MIN_NOISE_FRACTION = 0.1
"""Of the typical antenna's noise variance (as a factor of a baseline's): an antenna with less is cut off, its gain no
longer what was calibrated, and would otherwise outweigh all others."""
TIME_BLOCKS = 4


@dataclass(frozen=True, kw_only=True)
class TileSums:
    """What `stream_kernels.calibrate_and_average` sums over all subbands."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    n_antennas: int
    noise: NDArray[np.float64]
    noise_count: NDArray[np.float64]
    coherence: NDArray[np.float64]

    @classmethod
    def empty(
        cls, first: NDArray[np.int64], second: NDArray[np.int64], n_antennas: int, n_times: int, n_hands: int
    ) -> TileSums:
        return cls(
            first=first,
            second=second,
            n_antennas=n_antennas,
            noise=np.zeros((len(first), n_hands, 3)),
            noise_count=np.zeros((len(first), n_hands, 3)),
            coherence=np.zeros((len(first), n_times, n_hands, 2)),
        )


def antenna_variances(sums: TileSums) -> NDArray[np.float64]:
    """Return the noise of antennas, from differences in which the sky is all but absent.

    They are second differences along frequency, differences of successive integrations and of the two hands. Each
    contains the noise and never less, so the smallest is nearest. The first two do not hold errors of the calibration
    either, so that a bad calibration cannot pass for noise where channels are as narrow as the telescope's.

    Returns s (n_antennas, n_hands), Jy²: one part of a raw visibility of (i, j) has variance s_i^½ s_j^½ squared.

    That is, the variance of a baseline is the product of the square roots: sqrt(s_i s_j). 0: an antenna without data.
    """
    enough = sums.noise_count >= MIN_COUNT
    variance = np.divide(sums.noise, sums.noise_count, out=np.full(sums.noise.shape, np.nan), where=enough)
    typical = [np.nanmedian(variance[..., k]) if enough[..., k].any() else np.inf for k in range(3)]
    best = np.nan_to_num(variance[..., int(np.argmin(typical))])
    levels = antenna_levels((best * np.log(2.0)).astype(np.float32), sums.first, sums.second, sums.n_antennas)
    return levels.astype(np.float64) ** 2


def dead_antennas(sums: TileSums) -> NDArray[np.bool_]:
    """Return (n_antennas, n_times, n_hands): where an antenna gives noise only, or has almost stopped giving any.

    An antenna that is dead for the sky still makes noise, of no unusual power, but its visibilities have nothing in
    common from channel to channel. The mean product of neighbouring channels has no noise bias and shows the sky's
    power: an antenna with none of it, where the others have it beyond doubt, is noise alone.
    """
    n_times, n_hands = sums.coherence.shape[1:3]
    variances = antenna_variances(sums)
    typical = np.array([np.median(v[v > 0]) if np.any(v > 0) else 0.0 for v in variances.T])
    silent = (variances > 0) & (variances < MIN_NOISE_FRACTION * typical)
    dead = np.repeat(silent[:, None], n_times, axis=1)
    whole = _without_sky(sums, variances, slice(None), silent)
    dead |= whole[:, None]
    edges = np.linspace(0, n_times, TIME_BLOCKS + 1).round().astype(int)
    for start, stop in pairwise(edges):
        if n_times >= 2 * TIME_BLOCKS:
            dead[:, start:stop] |= _without_sky(sums, variances, slice(start, stop), silent | whole)[:, None]
    return dead.reshape(sums.n_antennas, n_times, n_hands)


def _without_sky(
    sums: TileSums, variances: NDArray[np.float64], times: slice, known: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the antennas (n_antennas, n_hands), besides those `known`, whose sky is not to be seen in these times."""
    products = sums.coherence[:, times].sum(axis=1)  # (n_baselines, n_hands, 2)
    sigma_squared = np.sqrt(variances[sums.first] * variances[sums.second])
    excluded = known.copy()
    for _ in range(3):  # the dead drag their partners down
        alive = ~excluded
        power, pairs, error = (np.zeros(alive.shape) for _ in range(3))
        for own, partner in ((sums.first, sums.second), (sums.second, sums.first)):
            use = alive[partner] & (products[..., 1] > 0)
            np.add.at(power, own, np.where(use, products[..., 0], 0.0))
            np.add.at(pairs, own, np.where(use, products[..., 1], 0.0))
            np.add.at(error, own, np.where(use, 2.0 * sigma_squared**2 * products[..., 1], 0.0))
        seen = np.divide(power, pairs, out=np.full(power.shape, np.nan), where=pairs > 0)
        error = np.divide(np.sqrt(error), pairs, out=np.full(power.shape, np.inf), where=pairs > 0)
        found = np.zeros_like(excluded)
        for hand in range(seen.shape[1]):
            counted = alive[:, hand] & np.isfinite(seen[:, hand])
            if not counted.any():
                continue
            typical = float(np.median(seen[counted, hand]))
            sure = counted & (typical > MIN_SIGNIFICANCE * error[:, hand])
            found[:, hand] = sure & (seen[:, hand] < np.maximum(MAX_DEAD_FRACTION * typical, 3 * error[:, hand]))
        if not (found & ~excluded).any():
            break
        excluded |= found
    return excluded & ~known
