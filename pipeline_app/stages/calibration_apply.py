"""`calibration-apply`: a new, calibrated and averaged Measurement Set."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline_app.quality import Verdict
from pipeline_app.stages.calibrating import CalibratingParams


class CalibrationApplyParams(CalibratingParams):
    """Which calibration to apply to which Measurement Set."""

    ms_path: Annotated[str, Field(min_length=1, description="Measurement Set to calibrate; never written to")]


class CalibrationApplyResult(BaseModel):
    """The calibrated Measurement Set."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ms_path: str
    calibration_path: str
    calibrator: str
    calibration_age_hours: float
    declination_difference_deg: float
    channels_averaged: int
    n_channels: int
    smearing: float
    """Mean loss to the width of the averaged channels at the half-power radius, weighted as the image is."""
    flagged_fraction: float
    """Fraction of the cross-correlations flagged in the new Measurement Set."""
    amplitude_median_jy: float
    """Median amplitude of the unflagged corrected cross-correlations."""
    noise_median_jy: float
    """Scatter of one correlation of one averaged channel, median over antennas; the weights are its inverse square."""
    verdict: Verdict
    reasons: list[str]
