"""`validation`: flux scale and astrometry of an image against catalogue sources that the catalogue chooses."""

from __future__ import annotations

from pydantic import Field, model_validator

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel
from pipeline_app.stages.photometry import Position

RECORD_NAME = "validation.json"
"""Published file that holds the verdict and the sources, for photometry to inherit."""


class ValidationParams(ParamsModel):
    """What to validate, and against which sources."""

    image_path: str = Field(min_length=1, description="Primary-beam-corrected FITS of the imaging stage")
    flat_image_path: str = Field(min_length=1, description="Uncorrected FITS")
    pb_path: str = Field(min_length=1, description="Effective response FITS")
    residual_path: str | None = Field(
        None, description="Residual FITS; with model_path and psf_path: fit in the dirty image"
    )
    model_path: str | None = Field(None, description="Clean components FITS")
    psf_path: str | None = Field(None, description="Dirty beam FITS")
    self_calibration_path: str | None = Field(
        None, description="Published record of the self-calibration stage, whose verdict is inherited"
    )
    positions: list[Position] = []
    catalog_path: str | None = Field(None, description="CSV with columns name, ra_deg, dec_deg, flux_jy")
    min_snr: float = Field(
        10.0, gt=0, description="Catalogue flux through the beam over the image's noise, from which it counts"
    )
    min_primary_beam: float = Field(0.2, gt=0, lt=1, description="Sources with less response do not count")

    @model_validator(mode="after")
    def _needs_sources(self) -> ValidationParams:
        if not self.positions and self.catalog_path is None:
            raise ValueError("give positions, catalog_path, or both")
        return self


class ValidatedSource(FiniteModel):
    """One source that the catalogue says should be seen."""

    name: str
    catalog_flux_jy: float
    predicted_snr: float
    flux_jy: float
    ratio: float
    snr: float
    offset_arcsec: float | None
    detected: bool


class ValidationResult(FiniteModel):
    """What the image is worth against the catalogue."""

    record_path: str
    """Published verdict, for photometry."""
    rms_jy: float
    """Of the flat image."""
    n_catalog: int
    n_at_edge: int
    """Besides these, nearer to the image's edge than its beam's width, so not measured."""
    n_expected: int
    n_missing: int
    flux_ratio_median: float | None
    """Measured over catalogue flux, missing sources included."""
    flux_ratio_error: float | None
    offset_median_arcsec: float | None
    sources: list[ValidatedSource]
    verdict: Verdict
    reasons: list[str]
