"""Programs that clean, behind one interface: each of `ENGINES` is a function from `ImagingJob` to `Cleaned`.

ducc0 is the default. CASA's tclean (w-projection, Hogbom's CLEAN) is there for comparison, and WSClean where it is
installed (A. Offringa et al. 2014, MNRAS 444, 606). All of them only read the Measurement Set.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from casatasks import exportfits, tclean
from numpy.typing import NDArray

from pipeline_app.casa import deconvolution, fits_images
from pipeline_app.casa.deconvolution import Cleaned, ImagingJob
from pipeline_app.casa.runtime import checked
from tasks_app.engine.handler import InvalidInput

EngineName = Literal["ducc0", "wsclean", "tclean"]

_TCLEAN_STOP_REASONS = {
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
_TCLEAN_DIVERGED = (5, 6)
_WSCLEAN_THREADS = 2
_WSCLEAN_MEMORY_GB = 3
_WSCLEAN_MAJOR_GAIN = 0.85
_WSCLEAN_ITERATIONS = re.compile(r"Performed (\d+) iterations in total")
_WSCLEAN_MAJOR_CYCLES = re.compile(r"== Deconvolving \((\d+)\)")
_LINES_SHOWN = 5


class WSCleanError(RuntimeError):
    """WSClean ended with an error."""


def choose_engine(asked: Literal["auto"] | EngineName) -> EngineName:
    """Return the engine to use; `auto` is ducc0, the most accurate and the fastest of the three.

    Raises:
        InvalidInput: WSClean is asked for and not installed.
    """
    name: EngineName = "ducc0" if asked == "auto" else asked
    if name == "wsclean" and shutil.which("wsclean") is None:
        raise InvalidInput("engine 'wsclean': no program wsclean is on PATH; install it or use 'ducc0'")
    return name


def clean_with_tclean(job: ImagingJob) -> Cleaned:
    """Clean down to `mask_nsigma` times the noise: without masks no deeper."""
    name = job.scratch_dir / "tclean"
    job.progress(0.0, "tclean is running")
    summary = checked(tclean, **_tclean_arguments(job, name), niter=job.params.niter, nsigma=job.params.mask_nsigma)
    code = int(summary.get("stopcode", 0))
    model, residual, psf = (fits_images.read_plane(_exported(name, kind)) for kind in ("model", "residual", "psf"))
    return Cleaned(
        flat=fits_images.read_image(_exported(name, "image")),
        model=model,
        residual=residual,
        psf=psf,
        iterations=int(summary.get("iterdone", 0)),
        major_cycles=int(summary.get("nmajordone", 0)),
        stop_reason=_TCLEAN_STOP_REASONS.get(code, f"code {code}"),
        diverged=code in _TCLEAN_DIVERGED,
    )


def _exported(name: Path, kind: str) -> Path:
    target = Path(f"{name}-{kind}.fits")
    checked(exportfits, imagename=f"{name}.{kind}", fitsimage=str(target), overwrite=True)
    return target


def _tclean_arguments(job: ImagingJob, name: Path) -> dict[str, Any]:
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


def clean_with_wsclean(job: ImagingJob) -> Cleaned:
    """Clean in a process of its own.

    Raises:
        WSCleanError: with the last lines that it wrote.
    """
    name = job.scratch_dir / "wsclean"
    job.progress(0.0, "wsclean is running")
    command = _wsclean_command(job, name)
    finished = subprocess.run(command, capture_output=True, text=True, cwd=job.scratch_dir, check=False)
    print(finished.stdout, flush=True)  # into the attempt's log
    if finished.returncode:
        lines = [line for line in (finished.stdout + finished.stderr).splitlines() if line.strip()][-_LINES_SHOWN:]
        raise WSCleanError(f"wsclean ended with code {finished.returncode}: {' | '.join(lines)}")
    iterations = [int(count) for count in _WSCLEAN_ITERATIONS.findall(finished.stdout)]
    reached_limit = bool(iterations) and iterations[-1] >= job.params.niter
    return Cleaned(
        flat=fits_images.read_image(Path(f"{name}-image.fits")),
        model=_wsclean_plane(name, "model", job),
        residual=_wsclean_plane(name, "residual", job),
        psf=_wsclean_plane(name, "psf", job),
        iterations=iterations[-1] if iterations else 0,
        major_cycles=len(_WSCLEAN_MAJOR_CYCLES.findall(finished.stdout)),
        stop_reason="iteration limit" if reached_limit else "threshold",
        diverged="diverg" in finished.stdout.lower(),
    )


def _wsclean_plane(name: Path, kind: str, job: ImagingJob) -> NDArray[np.float32]:
    path = Path(f"{name}-{kind}.fits")
    if not path.exists() and kind in ("model", "residual"):  # not written when nothing was cleaned
        if kind == "residual":
            return fits_images.read_plane(Path(f"{name}-dirty.fits"))
        return np.zeros((job.grid.imsize_pix, job.grid.imsize_pix), dtype=np.float32)
    return fits_images.read_plane(path)


def _wsclean_command(job: ImagingJob, name: Path) -> list[str]:
    params, grid = job.params, job.grid
    return [
        "wsclean", "-name", str(name), "-size", str(grid.imsize_pix), str(grid.imsize_pix),
        "-scale", f"{grid.cell_arcsec}asec", "-weight", "briggs", f"{params.robust}", "-pol", "I",
        "-niter", str(params.niter), "-mgain", str(_WSCLEAN_MAJOR_GAIN), "-auto-mask", str(params.mask_nsigma),
        "-auto-threshold", str(params.nsigma), "-data-column", "DATA", "-no-update-model-required", "-make-psf",
        "-j", str(_WSCLEAN_THREADS), "-abs-mem", str(_WSCLEAN_MEMORY_GB), "-temp-dir", str(job.scratch_dir),
        params.ms_path,
    ]  # fmt: skip


ENGINES: dict[EngineName, Callable[[ImagingJob], Cleaned]] = {
    "ducc0": deconvolution.clean,
    "wsclean": clean_with_wsclean,
    "tclean": clean_with_tclean,
}
