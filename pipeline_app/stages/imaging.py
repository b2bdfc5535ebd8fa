"""`imaging`: a cleaned, primary-beam-corrected image of a calibrated Measurement Set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_app.quality import Verdict


class ImagingParams(BaseModel):
    """What to image and how deep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ms_path: Annotated[str, Field(min_length=1, description="Calibrated Measurement Set; never written to")]
    imsize_pix: Annotated[int | None, Field(ge=64, le=16384, description="Side in pixels; none: from field_deg")] = None
    cell_arcsec: Annotated[float | None, Field(gt=0, description="Pixel; none: a fifth of the expected beam")] = None
    field_deg: Annotated[
        float | None, Field(gt=0, le=8, description="Side in degrees; none: from the primary beam and the drift")
    ] = None
    niter: Annotated[int, Field(ge=0, description="Most clean components")] = 20000
    nsigma: Annotated[float, Field(gt=0, description="Clean down to this many times the residual's rms")] = 4.0
    robust: Annotated[float, Field(ge=-2, le=2, description="Briggs weighting")] = 0.5
    gridder: Annotated[
        Literal["wproject", "standard"],
        Field(description="standard neglects the w term and shifts sources by arcseconds half a degree out"),
    ] = "wproject"
    w_planes: Annotated[int | None, Field(ge=1, description="Planes of w-projection; none: from the w range")] = None
    spectral_index: Annotated[
        float, Field(description="Assumed of every source when bringing fluxes to 1.405 GHz")
    ] = -0.7
    calibrated_elsewhere: Annotated[
        bool,
        Field(description="Take a Measurement Set without a record of a calibration as calibrated, with a warning"),
    ] = False


class ImagingResult(BaseModel):
    """The images and what was measured on them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    image_path: str
    """FITS, Stokes I at 1.405 GHz, corrected for the primary beam, Jy/beam; blank below the beam's cut-off."""
    flat_image_path: str
    """FITS as cleaned: apparent brightness, noise uniform over the image, Jy/beam."""
    pb_path: str
    """FITS, effective response: flat image over it is brightness at 1.405 GHz."""
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
    w_planes: int
    iterations: int
    stop_reason: str
    verdict: Verdict
    reasons: list[str]
