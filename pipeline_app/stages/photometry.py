"""`photometry`: forced fluxes at catalogue positions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel

IMAGE_FIELDS = ("image_path", "flat_image_path", "pb_path", "residual_path", "model_path", "psf_path")
"""Fields of the imaging stage's result that are params here, under the same names."""


class Position(FiniteModel):
    """Where to measure; the flux is for comparison only."""

    name: Annotated[str, Field(min_length=1)]
    ra_deg: Annotated[float, Field(ge=0, lt=360, description="ICRS")]
    dec_deg: Annotated[float, Field(ge=-90, le=90, description="ICRS")]
    flux_jy: float | None = None


class PhotometryParams(ParamsModel):
    """What to measure, and on which images."""

    image_path: Annotated[str, Field(min_length=1, description="Primary-beam-corrected FITS of the imaging stage")]
    flat_image_path: Annotated[str | None, Field(description="Uncorrected FITS; none: image times primary beam")] = None
    pb_path: Annotated[str | None, Field(description="Effective response FITS; none: image over flat image")] = None
    residual_path: Annotated[
        str | None, Field(description="Residual FITS; with model_path and psf_path: fit in the dirty image")
    ] = None
    model_path: Annotated[str | None, Field(description="Clean components FITS")] = None
    psf_path: Annotated[str | None, Field(description="Dirty beam FITS")] = None
    validation_path: Annotated[
        str | None, Field(description="Published record of the validation stage, whose verdict the fluxes inherit")
    ] = None
    positions: list[Position] = []
    catalog_path: Annotated[str | None, Field(description="CSV with columns name, ra_deg, dec_deg, flux_jy")] = None
    reference_freq_hz: Annotated[float, Field(gt=0)] = 1.405e9
    spectral_index: Annotated[float, Field(description="Used when reference_freq_hz is not the image's own")] = -0.7
    min_primary_beam: Annotated[float, Field(gt=0, lt=1, description="Positions with less response are outside")] = 0.1
    fractional_error: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Error in proportion to the flux of beam model, spectrum and deconvolution; that of the "
            "calibration, as its stages measured it, is added",
        ),
    ] = 0.002

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
    """Positions outside the image or where the response is below the cut-off."""
    flux_ratio_median: float | None
    """Measured over catalogue flux, median over sources above SNR 10 with a catalogue flux; for comparison only."""
    offset_median_arcsec: float | None
    freq_hz: float
    fractional_error: float
    """The part of the errors in proportion to the fluxes: that of the params and the flux scale's, which the stages
    before have measured."""
    verdict: Verdict
    reasons: list[str]
