"""Calibrations as they are found on disk, and whether one may be applied to a tile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline_app.casa.solutions import GAINS_NPZ
from pipeline_app.stages.calibrating import CalibratingParams
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
