"""`imaging`: a cleaned, primary-beam-corrected image of a calibrated Measurement Set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_app.quality import Verdict
from pipeline_app.stages import FiniteModel, ParamsModel


class ImagingParams(ParamsModel):
    """What to image and how deep."""

    ms_path: str = Field(min_length=1, description="Calibrated Measurement Set; never written to")
    imsize_pix: int | None = Field(None, ge=64, le=16384, description="Side in pixels; none: from field_deg")
    cell_arcsec: float | None = Field(
        None, gt=0, description="Pixel; none: a fifth of the fitted beam, or less to hold the longest baseline"
    )
    field_deg: float | None = Field(
        None, gt=0, le=8, description="Side in degrees; none: from the primary beam and the drift"
    )
    engine: Literal["auto", "ducc0", "wsclean", "tclean"] = Field(
        "auto", description="Deconvolution engine; auto: ducc0 with Radler. wsclean must be on PATH"
    )
    niter: int = Field(50_000, ge=0, description="Largest number of clean components")
    mask_nsigma: float = Field(
        5.0, gt=0, description="Components are sought anywhere down to this many times the residual's rms"
    )
    nsigma: float = Field(
        1.0, gt=0, description="Then only where some were found, down to this many times (tclean: not at all)"
    )
    robust: float = Field(0.5, ge=-2, le=2, description="Briggs weighting")
    w_planes: int | None = Field(None, ge=1, description="Planes of tclean's w-projection; none: from the w range")
    spectral_index: float = Field(-0.7, description="Assumed of every source when bringing fluxes to 1.405 GHz")
    calibrated_elsewhere: bool = Field(
        False, description="Take a Measurement Set without a record of a calibration as calibrated, with a warning"
    )
    correct_smearing: bool = Field(
        True,
        description="Bring sources away from the centre back to what channels and integrations took from them; "
        "false for simulated data whose channels do not average",
    )


class ImagingResult(FiniteModel):
    """The images and what was measured on them."""

    image_path: str
    """FITS, Stokes I at 1.405 GHz, corrected for the primary beam, Jy/beam; blank below the beam's cut-off."""
    flat_image_path: str
    """FITS as cleaned: apparent brightness, noise uniform over the image, Jy/beam."""
    pb_path: str
    """FITS, effective response: flat image over it is brightness at 1.405 GHz."""
    model_path: str
    """FITS, clean components, apparent Jy/pixel."""
    residual_path: str
    """FITS, apparent Jy per dirty beam."""
    psf_path: str
    """FITS, the dirty beam, 1 at its peak."""
    preview_path: str
    rms_jy: float
    """Of the flat image, from the median absolute deviation."""
    peak_jy: float
    dynamic_range: float
    beam_major_arcsec: float
    beam_minor_arcsec: float
    beam_pa_deg: float
    thermal_rms_jy: float
    """Expected of the visibilities' own scatter and the imaging weights."""
    freq_hz: float
    """Reference frequency of the fluxes."""
    effective_freq_hz: float
    """Weighted mean frequency of the data."""
    imsize_pix: int
    cell_arcsec: float
    engine: str
    iterations: int
    major_cycles: int
    stop_reason: str
    verdict: Verdict
    reasons: list[str]
