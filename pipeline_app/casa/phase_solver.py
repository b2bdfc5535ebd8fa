"""Phases of antennas against a model: sums over channels, solutions by interval, and how coherent the data are.

The data of a baseline follow V = g_i conj(g_j) M with |g| = 1. Needed of them are, by integration, hand and
pair of antennas, the sums over channels of w V conj(M) and w |M|². The solutions are those of StefCal (Salvini &
Wijnholds 2014, A&A 571, A97) with the amplitudes held at 1. Channels are summed in two halves, the even and the odd:
what is solved on one is judged on the other, so that noise cannot pass for an improvement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 60
N_HALVES = 2


@dataclass(frozen=True, kw_only=True)
class Products:
    """Sums over channels, shape (2 halves, n_times, n_hands, n_antennas, n_antennas); Hermitian in the antennas."""

    cross: NDArray[np.complex128]
    """Of w V conj(M)."""
    power: NDArray[np.float64]
    """Of w |M|²: the inverse variance of the phase of one baseline, in rad^-2."""

    @classmethod
    def empty(cls, n_times: int, n_hands: int, n_antennas: int) -> Products:
        shape = (N_HALVES, n_times, n_hands, n_antennas, n_antennas)
        return cls(cross=np.zeros(shape, np.complex128), power=np.zeros(shape))

    def add(
        self,
        values: NDArray[np.complex64],
        weight: NDArray[np.floating],
        model: NDArray[np.complex64],
        *,
        hand: int,
        time_index: NDArray[np.intp],
        antenna1: NDArray[np.integer],
        antenna2: NDArray[np.integer],
    ) -> None:
        """Add cross-correlations of one hand.

        `values` and `model` are (n_rows, n_channels), Jy, `weight` the inverse variance of each part, 0 where flagged.
        """
        cross = np.where(weight > 0, weight * values * model.conj(), 0)
        power = weight * (model.real**2 + model.imag**2)
        for half in range(N_HALVES):
            a, b = cross[:, half::N_HALVES].sum(axis=1), power[:, half::N_HALVES].sum(axis=1)
            sums, weights = self.cross[half, :, hand], self.power[half, :, hand]
            for one, other, value in ((antenna1, antenna2, a), (antenna2, antenna1, a.conj())):
                place = (time_index.astype(np.intp), one.astype(np.intp), other.astype(np.intp))
                np.add.at(sums, place, value)
                np.add.at(weights, place, b)

    def by_interval(self, n_intervals: int) -> Products:
        """Return the sums over equal runs of integrations."""
        starts = [run[0] for run in np.array_split(np.arange(self.cross.shape[1]), n_intervals)]
        return Products(
            cross=np.add.reduceat(self.cross, starts, axis=1), power=np.add.reduceat(self.power, starts, axis=1)
        )

    def phase_error_rad(self) -> NDArray[np.float64]:
        """Return the formal error of each antenna's phase, shape (n_times, n_hands, n_antennas); inf without data."""
        with np.errstate(divide="ignore"):
            return 1.0 / np.sqrt(self.power.sum(axis=0).sum(axis=-1))


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Solved phases of all channels, and how well they hold."""

    gains: NDArray[np.complex128]
    """Unit modulus, shape (n_intervals, n_hands, n_antennas); 1 without data. The mean phase of a hand is zero."""
    error_deg: float
    """Rms error of one phase, from the difference between the halves of the channels."""
    rms_deg: float
    """Rms of the true phases: that of the solved ones less their error."""
    coherence: float
    """Factor on a flux that the phases cost before they are corrected: weighted mean of cos(phase_i - phase_j)."""
    coherence_error: float
    improvement: float
    """Amplitude of the data over the model after the correction over that before, on channels not solved on."""

    @property
    def coherence_after(self) -> float:
        """Factor on a flux that the errors of the solved phases cost once they are applied."""
        return float(np.exp(-(np.radians(self.error_deg) ** 2)))


def choose_intervals(products: Products, target_deg: float) -> int:
    """Return the largest number of intervals in which the median antenna's phase has at most an error of `target_deg`.

    One interval is the least: its error may be larger.
    """
    n_times = products.cross.shape[1]
    for n_intervals in range(n_times, 1, -1):
        errors = products.by_interval(n_intervals).phase_error_rad()
        finite = errors[np.isfinite(errors)]
        if finite.size and np.degrees(np.median(finite)) <= target_deg:
            return n_intervals
    return 1


def solve_phases(products: Products) -> Phases | None:
    """Solve each interval of `products` for the antennas' phases; None when the model or the data are empty."""
    if not (products.power.sum(axis=(1, 2, 3, 4)) > 0).all():
        return None
    gains = _stefcal(products.cross.sum(axis=0))
    halves = [_stefcal(products.cross[half]) for half in range(N_HALVES)]
    valid = (products.power > 0).any(axis=-1).all(axis=0)
    pair = products.power.sum(axis=0)
    # Each half has twice the variance, and their difference that of both.
    difference = np.angle(halves[0] * halves[1].conj())[valid]
    error_rad = float(np.sqrt(np.mean(difference**2)) / 2)
    phases = np.angle(gains)
    variance = float(np.mean(phases[valid] ** 2)) - error_rad**2
    raw = _mean_over_pairs(gains, pair)
    kept = np.exp(-(error_rad**2))
    return Phases(
        gains=gains,
        error_deg=float(np.degrees(error_rad)),
        rms_deg=float(np.degrees(np.sqrt(max(variance, 0.0)))),
        coherence=float(min(raw / kept, 1.0)),
        coherence_error=float(error_rad**2 * np.sqrt(2.0 / max(valid.sum(), 1)) + 0.5 * error_rad**4),
        improvement=_improvement(products, halves),
    )


def _stefcal(cross: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return unit gains (..., n_antennas) that maximise Re sum conj(g_i) g_j cross_ij, with a mean phase of zero."""
    gains = np.ones(cross.shape[:-1], dtype=np.complex128)
    for iteration in range(ITERATIONS):
        step = _unit(np.einsum("...ij,...j->...i", cross, gains))
        # every other step is averaged with the one before: without it the iteration alternates
        gains = _unit(gains + step) if iteration % 2 else step
    used = np.abs(cross).sum(axis=-1) > 0
    mean = np.where(used, gains, 0).sum(axis=-1, keepdims=True)
    return np.where(used, gains * _unit(mean).conj(), 1.0)


def _unit(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    modulus = np.abs(values)
    return np.where(modulus > 0, values / np.where(modulus > 0, modulus, 1.0), 1.0)


def _mean_over_pairs(gains: NDArray[np.complex128], power: NDArray[np.float64]) -> float:
    pairs = (gains[..., :, None] * gains[..., None, :].conj()).real
    return float((pairs * power).sum() / power.sum())


def _improvement(products: Products, halves: list[NDArray[np.complex128]]) -> float:
    before = after = 0.0
    for half, gains in enumerate(halves):
        other = products.cross[1 - half]
        before += float(other.real.sum())
        after += float((gains[..., :, None].conj() * gains[..., None, :] * other).real.sum())
    return after / before if before > 0 else 1.0
