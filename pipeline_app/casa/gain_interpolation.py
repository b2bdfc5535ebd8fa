"""Gains between two calibrations: amplitude and phase of each antenna, linear in time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.solutions import Solutions


@dataclass(frozen=True, kw_only=True)
class Interpolated:
    """Gains at one time, and how far the two calibrations that they come from differ."""

    solutions: Solutions
    fraction: float
    """Weight of the later calibration; 0 or 1 outside the span of the two, where the nearer one is used alone."""
    phase_change_deg: float
    """Rms over antennas and hands of the change from one to the other, averaged over channels, against the common phase
    of all antennas."""
    amplitude_change: float
    """The same of the fractional amplitude."""


def interpolate(one: Solutions, other: Solutions, *, times_mjd: tuple[float, float], at_mjd: float) -> Interpolated:
    """Return the gains at `at_mjd`; both solutions must be on the same antennas and channels (`Solutions.onto`).

    The phase of each antenna changes by the shorter way, after each hand's median change has been taken out: it is that
    of the reference antenna, which no visibility shows. Where one has no solution, the other's is taken.
    """
    span = times_mjd[1] - times_mjd[0]
    fraction = float(np.clip((at_mjd - times_mjd[0]) / span, 0.0, 1.0)) if span else 0.0
    both = ~one.flags & ~other.flags
    ratio = np.where(both, other.gains / one.gains, 1.0)
    common = np.sum(np.where(both, ratio / np.abs(ratio), 0.0), axis=0)
    turn = np.where(np.abs(common) > 0, common / np.maximum(np.abs(common), 1e-30), 1.0)
    ratio = np.where(both, ratio * turn.conj(), 1.0)
    phase, amplitude = _continuous_phase(ratio, both), np.log(np.abs(ratio))
    gains = one.gains * np.exp(fraction * (amplitude + 1j * phase))
    gains = np.where(one.flags & ~other.flags, other.gains * turn.conj(), gains)
    solutions = replace(one, gains=gains, flags=one.flags & other.flags, gain_snr=np.fmax(one.gain_snr, other.gain_snr))
    known = both.any(axis=-1)
    return Interpolated(
        solutions=solutions,
        fraction=fraction,
        phase_change_deg=float(np.degrees(_rms(_mean(phase, both)[known]))),
        amplitude_change=_rms(_mean(amplitude, both)[known]),
    )


def _continuous_phase(ratio: NDArray[np.complex128], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return phases that do not jump by a turn between channels, each antenna's mean within half a turn of zero."""
    mean = np.sum(np.where(good, ratio, 0.0), axis=-1, keepdims=True)
    turn = np.where(np.abs(mean) > 0, mean / np.maximum(np.abs(mean), 1e-30), 1.0)
    return np.angle(ratio * turn.conj()) + np.angle(turn)


def _mean(values: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.sum(np.where(good, values, 0.0), axis=-1) / np.maximum(good.sum(axis=-1), 1)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0
