"""`photometry`: forced fluxes at catalogue positions."""

from __future__ import annotations

from pydantic import Field, model_validator

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel

IMAGE_FIELDS = ("image_path", "flat_image_path", "pb_path", "residual_path", "model_path", "psf_path")
"""Fields of the imaging stage's result that are params here, under the same names."""


class Position(FiniteModel):
    """Where to measure; the flux is for comparison only."""

    name: str = Field(min_length=1)
    ra_deg: float = Field(ge=0, lt=360, description="ICRS")
    dec_deg: float = Field(ge=-90, le=90, description="ICRS")
    flux_jy: float | None = None


class PhotometryParams(ParamsModel):
    """What to measure, and on which images."""

    image_path: str = Field(min_length=1, description="Primary-beam-corrected FITS of the imaging stage")
    flat_image_path: str | None = Field(None, description="Uncorrected FITS; none: image times primary beam")
    pb_path: str | None = Field(None, description="Effective response FITS; none: image over flat image")
    residual_path: str | None = Field(
        None, description="Residual FITS; with model_path and psf_path: fit in the dirty image"
    )
    model_path: str | None = Field(None, description="Clean components FITS")
    psf_path: str | None = Field(None, description="Dirty beam FITS")
    validation_path: str | None = Field(
        None, description="Published record of the validation stage, whose verdict the fluxes inherit"
    )
    positions: list[Position] = []
    catalog_path: str | None = Field(None, description="CSV with columns name, ra_deg, dec_deg, flux_jy")
    reference_freq_hz: float = Field(1.405e9, gt=0)
    spectral_index: float = Field(-0.7, description="Used when reference_freq_hz is not the image's own")
    min_primary_beam: float = Field(0.1, gt=0, lt=1, description="Positions with less response are outside")
    fractional_error: float = Field(
        0.002,
        ge=0,
        lt=1,
        description="Error in proportion to the flux of beam model, spectrum and deconvolution; that of the "
        "calibration, as its stages measured it, is added",
    )

    @model_validator(mode="after")
    def _needs_positions(self) -> PhotometryParams:
        if not self.positions and self.catalog_path is None:
            raise ValueError("give positions, catalog_path, or both")
        if self.flat_image_path is None and self.pb_path is None:
            raise ValueError(
                "give flat_image_path, pb_path, or both: the response cannot be computed from one image alone"
            )
        parts = (self.residual_path, self.model_path, self.psf_path)
        if any(parts) and not all(parts):
            raise ValueError("give residual_path, model_path and psf_path together, or none of them")
        return self


class Measurement(FiniteModel):
    """One source; `flux_jy` is primary-beam-corrected Stokes I at the reference frequency."""

    name: str
    ra_deg: float
    dec_deg: float
    flux_jy: float
    flux_err_jy: float
    snr: float
    """Flux over the noise part of its error: how surely something is there."""
    offset_arcsec: float | None
    """Distance of a free fit from the catalogue position; None below SNR 10."""
    catalog_flux_jy: float | None
    local_rms_jy: float
    """Noise around the source in the uncorrected image."""
    primary_beam: float
    verdict: Verdict | None = None
    """Never better than that of the image and of its validation; None before it is judged."""


class PhotometryResult(FiniteModel):
    """All measurements, in the order of the positions."""

    measurements: list[Measurement]
    photometry_path: str
    """Published CSV."""
    n_outside: int
    """Positions outside the image, at its edge or where the response is below the cut-off."""
    n_at_edge: int
    """Of these, in the image and the beam but nearer to the image's edge than its beam's width."""
    flux_ratio_median: float | None
    """Measured over catalogue flux, median over sources above SNR 10 with a catalogue flux; for comparison only."""
    offset_median_arcsec: float | None
    freq_hz: float
    fractional_error: float
    """The part of the errors in proportion to the fluxes: that of the params and the flux scale's, which the stages
    before have measured."""
    verdict: Verdict
    reasons: list[str]
