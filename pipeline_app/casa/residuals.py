"""Data against gains times model: what of the data is not explained, and how well a solution predicts other data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import gain_kernels, solve_kernels, tile_cube
from pipeline_app.casa.gain_solver import Sky
from pipeline_app.casa.threads import in_parts
from pipeline_app.casa.tile_cube import TileCube

RESIDUAL_SIGMA = 8.0
"""Noise alone never reaches this; faint sources outside the model widen the measured scatter and so stay below it."""
MIN_PHASE_SNR = 20.0
"""Phases are followed through the tile only where an integration shows them this well, so that noise is not fitted."""
MIN_PHASE_CHANGE = 3.0
"""And only where they change by this many times their error."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Data over gains times model, on data that the gains were not solved from; None when nothing could be compared."""

    phase_rms_deg: float | None = None
    amplitude_ratio: float | None = None


def flag_residuals(cube: TileCube, sky: Sky, gains: NDArray[np.complex128], turns: NDArray[np.complex64]) -> float:
    """Zero what the model does not explain; return the rms of one component of the noise.

    Single visibilities far from the model go, and (time, channel) cells whose residuals over all baselines stand out.
    """
    noise, _ = _residual_level(cube, sky, gains, turns, np.inf)
    noise, level = _residual_level(cube, sky, gains, turns, RESIDUAL_SIGMA * noise)
    bad = tile_cube.stands_out(level, cube.info.freqs_hz)
    tile_cube.zero_cells(cube, bad, "interference")
    return noise


def _residual_level(
    cube: TileCube, sky: Sky, gains: NDArray[np.complex128], turns: NDArray[np.complex64], limit: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the rms of one component and log amplitudes (n_times, n_channels, n_hands), NaN without data."""
    shape = cube.data.shape[1:]
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    dropped = np.zeros(shape[0], dtype=np.int64)
    in_parts(
        solve_kernels.residual_power,
        shape[0],
        sky.over(cube),
        gains.astype(np.complex64),
        turns,
        limit,
        total,
        count,
        dropped,
    )
    cube.flagged["outliers"] = cube.flagged.get("outliers", 0) + int(dropped.sum())
    noise = float(np.sqrt(total.sum() / max(1, 2 * count.sum())))
    mean = np.divide(total, count, out=np.full(shape, np.nan), where=(count > 0) & (total > 0))
    return noise, 0.5 * np.log(mean)


def follow_phases(
    cube: TileCube, sky: Sky, gains: NDArray[np.complex128], noise: float, refant: int
) -> NDArray[np.complex64]:
    """Return each antenna's phase factor at each integration, (n_times, n_antennas, n_hands), of mean phase zero.

    1 where nothing significant moves. Without them a phase that drifts within the tile would cost the gains amplitude.
    """
    product, power = _over_channels(cube, sky, gains)
    n_times, n_hands = product.shape[1:]
    solved = np.zeros((n_times, n_hands, len(cube.levels)), dtype=np.complex64)
    solved[...] = (gains != 0).any(axis=-1).T
    weights = np.zeros(solved.shape, dtype=np.float32)
    in_parts(
        gain_kernels.solve_gains,
        n_times,
        np.ascontiguousarray(product.transpose(1, 2, 0)),
        np.ascontiguousarray(power.transpose(1, 2, 0)),
        cube.first,
        cube.second,
        100,
        1e-4,
        solved,
        weights,
    )
    referred = solved * np.exp(-1j * np.angle(solved[..., refant : refant + 1]))
    there = weights > 0
    snr = np.abs(solved) * np.sqrt(weights) / max(noise, 1e-30)
    phases = np.where(there, np.angle(referred * np.exp(-1j * np.angle(referred.sum(axis=0)))), 0.0)
    seen = there.any(axis=0) & ((snr >= MIN_PHASE_SNR) | ~there).all(axis=0)
    number = np.maximum(there.sum(axis=0), 1)
    change = np.sqrt((phases**2).sum(axis=0) / number)
    typical = snr.sum(axis=0) / number
    moves = change * np.maximum(typical, 1.0) > MIN_PHASE_CHANGE
    return np.where(seen & moves, np.exp(1j * phases), 1.0).transpose(0, 2, 1).astype(np.complex64)


def measure_agreement(cube: TileCube, sky: Sky, halves: tuple[NDArray[np.complex128], ...]) -> Agreement:
    """Compare the gains of the even integrations with the odd ones, and the other way round.

    The gains were solved from other data than they are judged by, and are constant in time, as another tile gets them:
    noise that was fitted, or phases that drift, show as an amplitude ratio below 1.
    """
    if len(halves) < 2:
        return Agreement()
    phases, seen, expected = [], 0.0, 0.0
    for half, gains in enumerate(halves):
        product, power = _over_channels(cube, sky, gains)
        other = np.arange(product.shape[1]) % 2 != half
        by_baseline, norm = product[:, other].sum(axis=1), power[:, other].sum(axis=1)
        phases.append(np.angle(by_baseline[norm > 0]))
        seen += float(by_baseline.real.sum(dtype=float))
        expected += float(norm.sum(dtype=float))
    everything = np.concatenate(phases)
    if not len(everything) or not expected:
        return Agreement()
    return Agreement(
        phase_rms_deg=float(np.degrees(np.sqrt(np.mean(everything.astype(float) ** 2)))),
        amplitude_ratio=seen / expected,
    )


def _over_channels(
    cube: TileCube, sky: Sky, gains: NDArray[np.complex128]
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return sum V conj(g_i conj(g_j) M) over channels and the sum of the squares, (n_baselines, n_times, n_hands)."""
    n_baselines, n_times, _, n_hands = cube.data.shape
    product = np.zeros((n_baselines, n_times, n_hands), dtype=np.complex64)
    power = np.zeros(product.shape, dtype=np.float32)
    in_parts(solve_kernels.sum_channels, n_baselines, sky.over(cube), gains.astype(np.complex64), product, power)
    return product, power
