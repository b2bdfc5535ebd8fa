"""Noise of each antenna, and antennas that no longer see the sky, from what a streaming pass has summed.

Noise is taken from differences in which the sky is all but absent: second differences along frequency, differences
of successive integrations, differences of the two hands. Each contains the noise and never less, so the smallest is
nearest. The first two do not hold errors of the calibration either, so that a bad calibration cannot look like
noise where channels are as narrow as the telescope's.

An antenna that is dead for the sky still makes noise, of no unusual power, but its visibilities have nothing in
common from channel to channel. The mean product of neighbouring channels has no noise bias and shows the sky's
power: an antenna with none of it, where the others have it beyond doubt, is noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.stream_flags import antenna_levels

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
        """Return zeros."""
        return cls(
            first=first,
            second=second,
            n_antennas=n_antennas,
            noise=np.zeros((len(first), n_hands, 3)),
            noise_count=np.zeros((len(first), n_hands, 3)),
            coherence=np.zeros((len(first), n_times, n_hands, 2)),
        )


def antenna_variances(sums: TileSums) -> NDArray[np.float64]:
    """Return s (n_antennas, n_hands), Jy²: one part of a raw visibility of (i, j) has variance s_i^½ s_j^½ squared.

    That is, the variance of a baseline is the product of the square roots: sqrt(s_i s_j). 0: an antenna without data.
    """
    enough = sums.noise_count >= MIN_COUNT
    variance = np.divide(sums.noise, sums.noise_count, out=np.full(sums.noise.shape, np.nan), where=enough)
    typical = [np.nanmedian(variance[..., k]) if enough[..., k].any() else np.inf for k in range(3)]
    best = np.nan_to_num(variance[..., int(np.argmin(typical))])
    levels = antenna_levels((best * np.log(2.0)).astype(np.float32), sums.first, sums.second, sums.n_antennas)
    return levels.astype(np.float64) ** 2


def dead_antennas(sums: TileSums) -> NDArray[np.bool_]:
    """Return (n_antennas, n_times, n_hands): where an antenna gives noise only, or has almost stopped giving any."""
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
