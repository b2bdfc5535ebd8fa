"""tclean, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casatasks import exportfits, tclean

from pipeline_app.casa import fits_images
from pipeline_app.casa.fits_images import SkyImage
from pipeline_app.casa.runtime import checked
from pipeline_app.stages.imaging import ImagingParams

STOP_REASONS = {
    1: "iteration limit",
    2: "threshold",
    3: "stopped",
    4: "no change in the peak residual",
    5: "peak residual grew threefold over the last major cycle",
    6: "peak residual grew threefold over its minimum",
    7: "empty mask",
    8: "n-sigma threshold",
    9: "major cycle limit",
}
_DIVERGED = (5, 6)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Pixels of an image and planes of w."""

    imsize_pix: int
    cell_arcsec: float
    w_planes: int


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A restored image, Jy/beam of apparent brightness."""

    flat: SkyImage
    iterations: int
    stop_reason: str
    diverged: bool


def clean(params: ImagingParams, grid: Grid, scratch: Path) -> Cleaned:
    """Clean a Measurement Set, which is only read."""
    name = scratch / "clean"
    summary = checked(tclean, **_arguments(params, grid, name), niter=params.niter, nsigma=params.nsigma)
    code = int(summary.get("stopcode", 0))
    exported = scratch / "clean.fits"
    checked(exportfits, imagename=f"{name}.image", fitsimage=str(exported), overwrite=True)
    return Cleaned(
        flat=fits_images.read_image(exported),
        iterations=int(summary.get("iterdone", 0)),
        stop_reason=STOP_REASONS.get(code, f"code {code}"),
        diverged=code in _DIVERGED,
    )


def _arguments(params: ImagingParams, grid: Grid, name: Path) -> dict[str, Any]:
    return {
        "vis": params.ms_path,
        "imagename": str(name),
        "datacolumn": "data",
        "imsize": grid.imsize_pix,
        "cell": f"{grid.cell_arcsec}arcsec",
        "stokes": "I",
        "specmode": "mfs",
        "deconvolver": "hogbom",
        "gridder": params.gridder,
        "wprojplanes": grid.w_planes,
        "weighting": "briggs",
        "robust": params.robust,
        "pblimit": -0.01,  # negative: keep every pixel, the response is ours
        "savemodel": "none",
        "interactive": False,
    }
