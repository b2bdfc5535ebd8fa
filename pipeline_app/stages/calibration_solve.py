"""`calibration-solve`: delays, bandpass and gains from the calibrator in the beam."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline_app.quality import Verdict

RECORD_NAME = "calibration.json"
"""File of the published directory that holds a `CalibrationRecord`."""


class CalibrationSolveParams(BaseModel):
    """What to calibrate on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ms_path: Annotated[
        str, Field(min_length=1, description="Measurement Set of the calibrator's tile; never written to")
    ]
    calibrator: Annotated[
        str | None,
        Field(description="Name in the project's calibrator table; none: the one with the largest beam-weighted flux"),
    ] = None
    refant: Annotated[
        str | None, Field(description="Name of the reference antenna; none: the first of the usual chain with data")
    ] = None
    min_apparent_flux_jy: Annotated[
        float, Field(gt=0, description="A calibrator that the primary beam makes fainter than this is no calibrator")
    ] = 1.0
    min_solution_snr: Annotated[float, Field(gt=0, description="Solutions below this signal to noise are flagged")] = (
        3.0
    )
    model_field_sources: Annotated[
        bool,
        Field(description="Add other table sources to the model with the flux the residual shows, and solve again"),
    ] = True


class CalibrationRecord(BaseModel):
    """What was solved, and whether it may be applied; `calibration.json` of the published directory."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    verdict: Verdict
    """A refused calibration completes with ``fail`` and its reasons."""
    reasons: list[str]
    calibrator: str | None
    calibrator_flux_jy: float | None
    """Catalogue flux at 1.405 GHz."""
    calibrator_apparent_flux_jy: float | None
    """The same seen through the primary beam, mean over the tile's times."""
    n_field_sources: int = 0
    """Other sources added to the model."""
    refant: str | None
    n_antennas: int
    n_antennas_solved: int
    flagged_solutions: float
    """Fraction of the (antenna, polarisation, channel) solutions that are flagged."""
    flagged_fraction: float
    """Fraction of the cross-correlations flagged when solving."""
    snr_median: float | None
    phase_rms_deg: float | None
    """Scatter of corrected over model phases, averaged per baseline."""
    amplitude_ratio: float | None
    """Mean of corrected over model amplitudes."""
    mid_time_mjd: float
    declination_deg: float
    """Apparent declination of the pointing: the strip."""
    freq_min_hz: float
    freq_max_hz: float
    channel_width_hz: float
    source_ms_path: str
    versions: dict[str, str]


class CalibrationSolveResult(CalibrationRecord):
    """The record, and where it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    calibration_path: str
    """Published directory with the tables K.cal, B.cal and G.cal (unless none could be solved), gains.npz and
    calibration.json."""
    plot_path: str | None
