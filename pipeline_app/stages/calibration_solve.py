"""`calibration-solve`: delays, bandpass and gains from the calibrator in the beam."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel
from pipeline_app.verdicts import VerdictRecord

RECORD_NAME = "calibration.json"
"""File of the published directory that holds a `CalibrationRecord`."""
MAX_FIELD_SOURCES = 40
"""Each costs a pass over the data; fainter ones are found in the tile where they matter."""


class FieldSource(FiniteModel):
    """A source of the calibrator's field whose position is known."""

    name: str = Field(min_length=1, max_length=200)
    ra_deg: float = Field(ge=0, lt=360, description="ICRS")
    dec_deg: float = Field(ge=-90, le=90, description="ICRS")
    flux_jy: float | None = Field(None, ge=0, description="At 1.405 GHz, before the primary beam")
    alpha: float = Field(-0.7, description="Spectral index: flux proportional to frequency^alpha")


class FittedFieldSource(FieldSource):
    """The same as the tile shows it."""

    flux_jy: float
    error_jy: float
    """Of the fit alone: the noise of the visibilities."""
    catalogue_flux_jy: float | None
    """None for a source found in the tile itself."""


class CalibrationSolveParams(ParamsModel):
    """What to calibrate on."""

    ms_path: str = Field(min_length=1, description="Measurement Set of the calibrator's tile; never written to")
    calibrator: str | None = Field(
        None, description="Name in the project's calibrator table; none: the one with the largest beam-weighted flux"
    )
    refant: str | None = Field(
        None, description="Name of the reference antenna; none: the first of the usual chain with data"
    )
    min_apparent_flux_jy: float = Field(
        1.0, gt=0, description="A calibrator that the primary beam makes fainter than this is no calibrator"
    )
    min_solution_snr: float = Field(3.0, gt=0, description="Solutions below this signal to noise are flagged")
    model_field_sources: bool = Field(
        True,
        description="Model the field too: sources given here, those of the calibrator table, and what an image of"
        " the residuals shows; their fluxes are fitted together with the gains",
    )
    model_smearing: bool = Field(
        True,
        description="Model what channels and integrations take from sources away from the beam's centre; false for"
        " simulated data whose channels do not average",
    )
    field_sources: list[FieldSource] = Field(
        [],
        max_length=MAX_FIELD_SOURCES,
        description="Known sources near the calibrator: positions are trusted, fluxes are a first guess and check"
        " the flux scale",
    )

    @field_validator("field_sources")
    @classmethod
    def _named_once(cls, sources: list[FieldSource]) -> list[FieldSource]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is named twice")
        return sources


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
    """Other sources in the model."""
    field_sources: list[FittedFieldSource] = []
    flux_ratio_median: float | None = None
    """Fitted over catalogue flux of the field's catalogued sources; below 1 when the calibrator is brighter than its
    table says."""
    flux_ratio_error: float | None = None
    flux_scale_error: float = 0.0
    """Error of all fluxes calibrated with it, in proportion; 0 in records made before it was measured."""
    n_flux_references: int = 0
    """Catalogued sources that the ratio is of, chosen by the signal to noise that the catalogue promises."""
    refant: str | None
    n_antennas: int
    """Antennas with data; those without count in no fraction."""
    antennas_without_data: list[str] = []
    antennas_without_solution: list[str] = []
    n_antennas_solved: int
    flagged_solutions: float
    """Fraction of the (antenna, polarisation, channel) solutions that are flagged."""
    flagged_fraction: float
    """Fraction of the cross-correlations flagged when solving."""
    flagged_by: dict[str, int] = {}
    """Visibilities that the solve itself flagged, by reason."""
    snr_median: float | None
    phase_rms_deg: float | None
    """Scatter of data over gains times model, averaged per baseline, on integrations not solved on."""
    amplitude_ratio: float | None
    """Mean of data over gains times model, on integrations not solved on."""
    phase_drift_deg: float = 0.0
    """Largest phase change of an antenna within the tile, followed and taken out."""
    smoothing_channels: float = 1.0
    """Median number of channels over which a bandpass was smoothed."""
    mid_time_mjd: float
    declination_deg: float
    """Apparent declination of the pointing: the strip."""
    freq_min_hz: float
    freq_max_hz: float
    channel_width_hz: float
    source_ms_path: str
    versions: dict[str, str]

    def as_verdict(self) -> VerdictRecord:
        """Return what the products of this calibration inherit."""
        return VerdictRecord(
            stage="calibration",
            verdict=self.verdict,
            reasons=tuple(self.reasons),
            flux_scale_error=self.flux_scale_error,
        )


class CalibrationSolveResult(CalibrationRecord):
    """The record, and where it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    calibration_path: str
    """Published directory with the tables K.cal, B.cal and G.cal (unless none could be solved), gains.npz and
    calibration.json."""
    plot_path: str | None
