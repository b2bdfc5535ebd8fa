"""Calibrations as they are on disk: whether one may be applied to a tile, and gains between two of them in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_app.casa.solutions import GAINS_NPZ, Solutions
from pipeline_app.stages.calibration_apply import CalibratingParams
from pipeline_app.stages.calibration_solve import RECORD_NAME, CalibrationRecord
from tasks_app.engine.handler import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Match:
    """A calibration that fits a tile, and how well."""

    record: CalibrationRecord
    age_hours: float
    declination_difference_deg: float


def read_record(calibration: Path) -> CalibrationRecord:
    """Read calibration.json.

    Raises:
        InvalidInput: it is missing, malformed, or refuses the calibration.
    """
    try:
        text = (calibration / RECORD_NAME).read_text(encoding="utf-8")
        record = CalibrationRecord.model_validate_json(text)
    except (OSError, ValidationError) as error:
        raise InvalidInput(f"{calibration} is not a calibration: {error}") from error
    if record.verdict == "fail":
        raise InvalidInput(f"calibration refused: {'; '.join(record.reasons)}")
    if not (calibration / GAINS_NPZ).is_file():
        raise InvalidInput(f"{calibration} lacks {GAINS_NPZ}")
    return record


def match_calibration(
    record: CalibrationRecord, limits: CalibratingParams, *, mid_time_mjd: float, declination_deg: float
) -> Match:
    """Check that a calibration is near in time, and of the strip with that apparent declination.

    Raises:
        InvalidInput: it is not.
    """
    age_hours = abs(mid_time_mjd - record.mid_time_mjd) * 24.0
    if age_hours > limits.max_age_hours:
        raise InvalidInput(
            f"calibration is stale: {age_hours:.1f} h from the observation (limit {limits.max_age_hours:g} h)"
        )
    difference_deg = abs(declination_deg - record.declination_deg)
    if difference_deg > limits.max_declination_difference_deg:
        raise InvalidInput(
            f"calibration is of another declination strip: {difference_deg:.2f}° away"
            f" (limit {limits.max_declination_difference_deg:g}°)"
        )
    return Match(record=record, age_hours=age_hours, declination_difference_deg=difference_deg)


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
