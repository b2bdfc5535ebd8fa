"""CASA's tclean, w-projection and Hogbom's CLEAN: for comparison, and for who wants CASA throughout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from casatasks import exportfits, tclean
from numpy.typing import NDArray

from pipeline_app.casa import fits_images
from pipeline_app.casa.deconvolution import Cleaned, ImagingJob
from pipeline_app.casa.runtime import checked

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


def clean(job: ImagingJob) -> Cleaned:
    """Clean a Measurement Set, which is only read, down to `mask_nsigma` times the noise: without masks no deeper."""
    name = job.scratch_dir / "tclean"
    job.progress(0.0, "tclean is running")
    summary = checked(tclean, **_arguments(job, name), niter=job.params.niter, nsigma=job.params.mask_nsigma)
    code = int(summary.get("stopcode", 0))
    return Cleaned(
        flat=fits_images.read_image(_exported(name, "image")),
        model=_plane(name, "model"),
        residual=_plane(name, "residual"),
        psf=_plane(name, "psf"),
        iterations=int(summary.get("iterdone", 0)),
        major_cycles=int(summary.get("nmajordone", 0)),
        stop_reason=STOP_REASONS.get(code, f"code {code}"),
        diverged=code in _DIVERGED,
    )


def _exported(name: Path, kind: str) -> Path:
    target = Path(f"{name}-{kind}.fits")
    checked(exportfits, imagename=f"{name}.{kind}", fitsimage=str(target), overwrite=True)
    return target


def _plane(name: Path, kind: str) -> NDArray[np.float32]:
    return fits_images.read_plane(_exported(name, kind))


def _arguments(job: ImagingJob, name: Path) -> dict[str, Any]:
    return {
        "vis": job.params.ms_path,
        "imagename": str(name),
        "datacolumn": "data",
        "imsize": job.grid.imsize_pix,
        "cell": f"{job.grid.cell_arcsec}arcsec",
        "stokes": "pseudoI",
        "specmode": "mfs",
        "deconvolver": "hogbom",
        "gridder": "wproject",
        "wprojplanes": job.params.w_planes or job.grid.w_planes(job.weights.max_w_wavelengths),
        "weighting": "briggs",
        "robust": job.params.robust,
        "pblimit": -0.01,  # negative: keep every pixel, the response is ours
        "savemodel": "none",
        "interactive": False,
    }
