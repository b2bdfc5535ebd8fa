"""Fluxes at fixed positions: the restoring beam is fitted to the pixels under it, neighbours together.

Noise in a cleaned image is correlated over a beam, so pixels beyond half power add noise and no knowledge: only those
within are used. What the correlation does to the error is measured, not assumed: the same estimator is run over the
whole image, and its robust scatter over that of the pixels is the noise factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.signal import fftconvolve
from scipy.sparse.csgraph import connected_components

from pipeline_app.casa.fits_images import Beam

BLEND_BEAMS = 1.5
"""Sources closer than this many major axes are fitted together."""
LOCAL_BEAMS = 12.0
"""Half side of the box in which the local noise is measured."""
_SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))


@dataclass(frozen=True, kw_only=True)
class BeamShape:
    """A restoring beam in pixels: inverse covariance of its Gaussian, axes x (to the right) and y (up)."""

    precision: NDArray[np.float64]
    major_pix: float

    @classmethod
    def of(cls, beam: Beam, cell_arcsec: float) -> BeamShape:
        """Return the beam on pixels with north up and east to the left."""
        angle = np.radians(beam.pa_deg)
        along = np.array([-np.sin(angle), np.cos(angle)])
        across = np.array([np.cos(angle), np.sin(angle)])
        major, minor = beam.major_arcsec / cell_arcsec, beam.minor_arcsec / cell_arcsec
        precision = np.outer(along, along) / (major * _SIGMA_PER_FWHM) ** 2
        precision += np.outer(across, across) / (minor * _SIGMA_PER_FWHM) ** 2
        return cls(precision=precision, major_pix=major)

    def at(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the beam, 1 at its peak, at offsets in pixels."""
        p = self.precision
        return np.exp(-0.5 * (p[0, 0] * dx**2 + 2 * p[0, 1] * dx * dy + p[1, 1] * dy**2))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Apparent brightness of one source in Jy."""

    peak_jy: float
    error_jy: float
    local_rms_jy: float


def noise_factor(image: NDArray[np.float64], shape: BeamShape) -> float:
    """Return the scatter of the estimator over blank sky, in units of the scatter of the pixels."""
    half = int(np.ceil(shape.major_pix))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    kernel = shape.at(x, y)
    kernel = np.where(kernel >= 0.5, kernel, 0.0)
    smoothed = fftconvolve(np.nan_to_num(image), kernel / np.sum(kernel**2), mode="same")
    return float(mad_std(smoothed) / mad_std(image, ignore_nan=True))


def local_rms_jy(image: NDArray[np.floating], x: float, y: float, shape: BeamShape) -> float:
    """Return the robust scatter of the pixels around a position."""
    half = int(np.ceil(LOCAL_BEAMS * shape.major_pix))
    row, column = round(y), round(x)
    box = image[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
    return float(mad_std(box, ignore_nan=True))


def group_blends(x: NDArray[np.float64], y: NDArray[np.float64], shape: BeamShape) -> list[NDArray[np.intp]]:
    """Return the indices of sources that must be fitted together, one array a group."""
    if len(x) == 0:
        return []
    close = np.hypot(x[:, None] - x, y[:, None] - y) < BLEND_BEAMS * shape.major_pix
    count, labels = connected_components(close, directed=False)
    return [np.flatnonzero(labels == label) for label in range(count)]


def fit_all(
    image: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    groups: Sequence[NDArray[np.intp]],
    shape: BeamShape,
) -> list[Fit]:
    """Fit the peaks of sources at fixed positions, those of a group together, in the order of the positions."""
    factor = noise_factor(image, shape)
    found = {
        int(index): fit
        for group in groups
        for index, fit in zip(group, fit_group(image, x[group], y[group], shape, factor), strict=True)
    }
    return [found[index] for index in range(len(x))]


def fit_group(
    image: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], shape: BeamShape, factor: float
) -> list[Fit]:
    """Fit the peaks of sources at fixed positions together; errors are those of the noise alone."""
    pixels_x, pixels_y, values = _under(image, x, y, shape)
    design = np.stack([shape.at(pixels_x - a, pixels_y - b) for a, b in zip(x, y, strict=True)], axis=1)
    peaks = np.linalg.lstsq(design, values, rcond=None)[0]
    normal = design.T @ design
    # how much the neighbours loosen each amplitude: 1 alone
    inflation = np.sqrt(np.diag(np.linalg.pinv(normal)) * _alone(shape, x, y, pixels_x, pixels_y))
    rms = [local_rms_jy(image, a, b, shape) for a, b in zip(x, y, strict=True)]
    return [
        Fit(peak_jy=float(peak), error_jy=float(noise * factor * max(loosened, 1.0)), local_rms_jy=noise)
        for peak, noise, loosened in zip(peaks, rms, inflation, strict=True)
    ]


def centroid_offset_pix(
    image: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    peaks: Sequence[float],
    which: int,
    shape: BeamShape,
) -> float:
    """Return how far from its position a source is when the beam may move; its neighbours stay where they are."""
    own_x, own_y = np.array([x[which]]), np.array([y[which]])
    pixels_x, pixels_y, values = _under(image, own_x, own_y, shape)
    for index, (a, b, peak) in enumerate(zip(x, y, peaks, strict=True)):
        if index != which:
            values = values - peak * shape.at(pixels_x - a, pixels_y - b)

    def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        peak, dx, dy = parameters
        return peak * shape.at(pixels_x - x[which] - dx, pixels_y - y[which] - dy) - values

    found = least_squares(misfit, [peaks[which], 0.0, 0.0], x_scale=[abs(peaks[which]) or 1.0, 1.0, 1.0])
    return float(np.hypot(found.x[1], found.x[2]))


def _under(
    image: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], shape: BeamShape
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return positions and values of the pixels within half power of any of the positions."""
    half = int(np.ceil(shape.major_pix))
    top, left = max(0, int(y.min()) - half), max(0, int(x.min()) - half)
    cut = image[top : int(y.max()) + half + 2, left : int(x.max()) + half + 2]
    rows, columns = np.mgrid[top : top + cut.shape[0], left : left + cut.shape[1]].astype(float)
    inside = np.zeros(cut.shape, dtype=bool)
    for a, b in zip(x, y, strict=True):
        inside |= shape.at(columns - a, rows - b) >= 0.5
    inside &= np.isfinite(cut)
    return columns[inside], rows[inside], cut[inside]


def _alone(
    shape: BeamShape,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    pixels_x: NDArray[np.float64],
    pixels_y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return for each source the sum of squares of its beam over its own half-power pixels."""
    beams = np.stack([shape.at(pixels_x - a, pixels_y - b) for a, b in zip(x, y, strict=True)])
    return np.where(beams >= 0.5, beams**2, 0.0).sum(axis=1)
