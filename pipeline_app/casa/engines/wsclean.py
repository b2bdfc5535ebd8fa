"""WSClean, when it is installed (A. Offringa et al. 2014, MNRAS 444, 606)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import fits_images
from pipeline_app.casa.deconvolution import Cleaned, ImagingJob

THREADS = 2
MEMORY_GB = 3
MAJOR_GAIN = 0.85
_ITERATIONS = re.compile(r"Performed (\d+) iterations in total")
_MAJOR = re.compile(r"== Deconvolving \((\d+)\)")
_LINES_SHOWN = 5


class WSCleanError(RuntimeError):
    """WSClean ended with an error."""


def clean(job: ImagingJob) -> Cleaned:
    """Clean a Measurement Set, which is only read.

    Raises:
        WSCleanError: with the last lines that it wrote.
    """
    name = job.scratch_dir / "wsclean"
    job.progress(0.0, "wsclean is running")
    finished = subprocess.run(_arguments(job, name), capture_output=True, text=True, cwd=job.scratch_dir, check=False)
    print(finished.stdout, flush=True)  # into the attempt's log
    if finished.returncode:
        told = [line for line in (finished.stdout + finished.stderr).splitlines() if line.strip()][-_LINES_SHOWN:]
        raise WSCleanError(f"wsclean ended with code {finished.returncode}: {' | '.join(told)}")
    iterations = [int(count) for count in _ITERATIONS.findall(finished.stdout)]
    reached_limit = bool(iterations) and iterations[-1] >= job.params.niter
    return Cleaned(
        flat=fits_images.read_image(Path(f"{name}-image.fits")),
        model=_plane(name, "model", job),
        residual=_plane(name, "residual", job),
        psf=_plane(name, "psf", job),
        iterations=iterations[-1] if iterations else 0,
        major_cycles=len(_MAJOR.findall(finished.stdout)),
        stop_reason="iteration limit" if reached_limit else "threshold",
        diverged="diverg" in finished.stdout.lower(),
    )


def _plane(name: Path, kind: str, job: ImagingJob) -> NDArray[np.float32]:
    path = Path(f"{name}-{kind}.fits")
    if not path.exists() and kind in ("model", "residual"):  # not written when nothing was cleaned
        if kind == "residual":
            return fits_images.read_plane(Path(f"{name}-dirty.fits"))
        return np.zeros((job.grid.imsize_pix, job.grid.imsize_pix), dtype=np.float32)
    return fits_images.read_plane(path)


def _arguments(job: ImagingJob, name: Path) -> list[str]:
    params, grid = job.params, job.grid
    return [
        "wsclean", "-name", str(name), "-size", str(grid.imsize_pix), str(grid.imsize_pix),
        "-scale", f"{grid.cell_arcsec}asec", "-weight", "briggs", f"{params.robust}", "-pol", "I",
        "-niter", str(params.niter), "-mgain", str(MAJOR_GAIN), "-auto-mask", str(params.mask_nsigma),
        "-auto-threshold", str(params.nsigma), "-data-column", "DATA", "-no-update-model-required", "-make-psf",
        "-j", str(THREADS), "-abs-mem", str(MEMORY_GB), "-temp-dir", str(job.scratch_dir), params.ms_path,
    ]  # fmt: skip
