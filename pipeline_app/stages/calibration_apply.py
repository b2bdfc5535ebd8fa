"""`calibration-apply`: a new, calibrated and averaged Measurement Set; and what all that apply a calibration take."""

from __future__ import annotations

from pydantic import Field

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel

MAX_AGE_HOURS = 24.0
MAX_DECLINATION_DIFFERENCE_DEG = 1.0
"""How far a calibration may be from what it is applied to, unless another limit is given."""


class CalibratingParams(ParamsModel):
    """Which calibration to apply, and within which limits."""

    calibration_path: str = Field(min_length=1, description="Directory published by calibration-solve")
    max_age_hours: float = Field(MAX_AGE_HOURS, gt=0, description="Refuse a calibration further than this in time")
    max_declination_difference_deg: float = Field(
        MAX_DECLINATION_DIFFERENCE_DEG, gt=0, description="Refuse a calibration of another declination strip"
    )
    max_smearing: float = Field(
        0.007,
        ge=0,
        lt=0.5,
        description="Mean loss over the baselines, weighted as in the image, that the width of averaged channels"
        " may cause at the half-power radius of the primary beam",
    )


class CalibrationApplyParams(CalibratingParams):
    """Which calibration to apply to which Measurement Set."""

    ms_path: str = Field(min_length=1, description="Measurement Set to calibrate; never written to")


class CalibrationApplyResult(FiniteModel):
    """The calibrated Measurement Set."""

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
