"""Stage `calibrate-target`: the raw subband files of one tile into a calibrated, averaged Measurement Set."""

from __future__ import annotations

from pydantic import Field

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel
from pipeline_app.stages.calibration_apply import CalibratingParams


class CalibrateTargetParams(CalibratingParams):
    """Which calibration to apply to which raw files."""

    paths: list[str] = Field(min_length=1, description="UVH5 subband files of one tile, in any order, of any name")
    other_calibration_path: str | None = Field(
        None,
        min_length=1,
        description="A second calibration: gains are interpolated in time between the two; outside their span the"
        " nearer is used",
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]*$",
        max_length=100,
        description="Name of the observation; by default its UTC start time",
    )


class FlagCounts(FiniteModel):
    """What was left out, and why; fractions of the cross-correlations of antennas with data, before averaging."""

    input_fraction: float
    """Flagged in the raw files, or with nsamples 0."""
    missing_fraction: float
    """Channels of missing or narrower subbands."""
    interference_fraction: float
    """Whole (time, channel) cells whose power, averaged over baselines, stands out."""
    row_fraction: float
    """Whole (baseline, time) rows of a subband, and antennas at times at which their power is off."""
    n_clipped: int
    """Single visibilities far above the noise of their antennas."""
    n_nonfinite_or_wild: int
    """Visibilities that are not finite, or absurdly large."""
    n_bad_integrations: int
    """(integration, subband) pairs flagged as a whole."""
    n_bad_channels: int
    """Channels flagged for all times."""


class CalibrateTargetResult(FiniteModel):
    """The calibrated Measurement Set."""

    ms_path: str
    name: str
    verdict: Verdict
    reasons: list[str]
    telescope_name: str
    calibration_path: str
    other_calibration_path: str | None
    calibrator: str
    calibration_age_hours: float
    """Of the nearer calibration."""
    declination_difference_deg: float
    calibration_fraction: float
    """Weight of the other calibration in the interpolation; 0 with one."""
    calibration_phase_change_deg: float | None
    """Rms over antennas of the phase change between two calibrations; None with one."""
    calibration_amplitude_change: float | None
    n_antennas: int
    n_times: int
    n_channels: int
    """After averaging."""
    channels_averaged: int
    smearing: float
    """Mean loss to the width of the averaged channels at the half-power radius, weighted as the image is."""
    total_smearing: float
    """The same with the loss to integration time."""
    n_subbands: int
    missing_subbands: list[int]
    mid_time_mjd: float
    """UTC."""
    phase_ra_deg: float
    """ICRS."""
    phase_dec_deg: float
    declination_deg: float
    """Apparent declination of the pointing."""
    flagged_fraction: float
    """Of the averaged cross-correlations of antennas and subbands with data."""
    flag_counts: FlagCounts
    dead_antennas: list[str]
    """Antennas (with the hand, where it is one) that gave noise only, or nothing, in spite of a solution."""
    antennas_without_solution: list[str]
    """As `dead_antennas`, with the hand where it is one."""
    antennas_without_data: list[str]
    """The same."""
    noise_median_jy: float
    """Of one hand of one averaged channel, median over the antennas; the weights are its inverse square."""
