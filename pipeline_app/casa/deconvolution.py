"""Images of one Measurement Set, whichever program makes them: what goes in, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from pipeline_app.casa.fits_images import Beam, SkyImage
from pipeline_app.casa.forced_fit import BeamShape
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.sky_grid import Grid
from pipeline_app.casa.stokes import StokesI
from pipeline_app.casa.weighting import ImagingWeights
from pipeline_app.stages.imaging import ImagingParams


@dataclass(frozen=True, kw_only=True)
class ImagingJob:
    """What an engine is asked for."""

    params: ImagingParams
    data: StokesI
    weights: ImagingWeights
    track: BeamTrack
    grid: Grid
    scratch_dir: Path
    progress: Callable[[float, str], None]
    """Called with the fraction of the engine's work that is done, 0 to 1, and a message."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A cleaned image and its parts; all planes (n_y, n_x) of apparent brightness."""

    flat: SkyImage
    """Restored: the model convolved with the beam, plus the residual, Jy/beam."""
    model: NDArray[np.float32]
    """Clean components, Jy/pixel."""
    residual: NDArray[np.float32]
    """Jy per dirty beam."""
    psf: NDArray[np.float32]
    """Dirty beam, 1 at its peak, which is at n // 2."""
    iterations: int
    major_cycles: int
    stop_reason: str
    diverged: bool


def restore(model: NDArray[np.float32], residual: NDArray[np.float32], beam: Beam, header: fits.Header) -> SkyImage:
    """Return the model convolved with a Gaussian of height 1, plus the residual."""
    wcs = WCS(header).celestial
    cell_arcsec = abs(float(wcs.wcs.cdelt[1])) * 3600.0
    half = int(np.ceil(2.5 * beam.major_arcsec / cell_arcsec))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    kernel = BeamShape.of(beam, cell_arcsec).at(x, y)
    data = fftconvolve(model.astype(float), kernel, mode="same") + residual
    return SkyImage(data=data, header=header, wcs=wcs, beam=beam)
