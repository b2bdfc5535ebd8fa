"""Fluxes at fixed positions from the dirty image: the joint least-squares fit to the visibilities, done on pixels.

The dirty image of a point source is its flux times the dirty beam, and the gradient of the misfit of the visibilities
with respect to a flux is the residual image at its position. So the fluxes S of some positions that fit best, all else
being the clean components of other sources, solve

    sum_j PSF(x_i - x_j) S_j = D(x_i),    D = residual + PSF * (components of these sources)

Neither the depth of CLEAN nor its stopping, nor a restoring beam that is not the shape of the dirty beam, enters: what
was not cleaned is in the residual, at its full height. The noise of D has, but for robust weighting, the covariance
sigma² PSF, so that of the fluxes is sigma² PSF(x_i - x_j)^-1 with sigma the scatter of the residual's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.forced_fit import BeamShape, Fit, local_rms_jy
from pipeline_app.casa.sky_grid import NYQUIST_MARGIN

OWN_BEAMS = 1.0
"""Components within this many half-power widths of a position are its source's, whose flux is measured again."""
_HALF_WIDTH_PIX = 32
_KAISER_BETA = 2.0 * np.pi * _HALF_WIDTH_PIX * (0.5 - 1.0 / NYQUIST_MARGIN)
"""Of the interpolation between pixels, see `between_pixels`."""


@dataclass(frozen=True, kw_only=True)
class DirtySky:
    """What CLEAN found and what it left, planes (n_y, n_x) of one image."""

    residual: NDArray[np.float32]
    """Jy per dirty beam."""
    model: NDArray[np.float32]
    """Jy/pixel."""
    psf: NDArray[np.float32]
    """1 at its peak, at n // 2."""


def fit_group(sky: DirtySky, x: NDArray[np.float64], y: NDArray[np.float64], shape: BeamShape) -> list[Fit]:
    """Fit the apparent fluxes of sources at fixed positions together; errors are those of the noise alone."""
    beam = _psf_at(sky.psf, x[:, None] - x, y[:, None] - y)
    rows, columns, values = _own_components(sky.model, x, y, shape)
    dirty = np.array([_value_at(sky.residual, a, b) for a, b in zip(x, y, strict=True)])
    if len(values):
        dirty += _psf_at(sky.psf, x[:, None] - columns, y[:, None] - rows) @ values
    inverse = np.linalg.pinv(beam)
    fluxes = inverse @ dirty
    loosened = np.sqrt(np.maximum(np.diag(inverse), 1.0))
    noise = [local_rms_jy(sky.residual, a, b, shape) for a, b in zip(x, y, strict=True)]
    return [
        Fit(peak_jy=float(flux), error_jy=float(sigma * factor), local_rms_jy=sigma)
        for flux, sigma, factor in zip(fluxes, noise, loosened, strict=True)
    ]


def _own_components(
    model: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64], shape: BeamShape
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return rows, columns and fluxes of the components near any of the positions."""
    half = int(np.ceil(OWN_BEAMS * shape.major_pix)) + 1
    top, left = max(0, int(y.min()) - half), max(0, int(x.min()) - half)
    cut = model[top : int(y.max()) + half + 2, left : int(x.max()) + half + 2]
    rows, columns = (index.astype(float) for index in np.nonzero(cut))
    values = cut[cut != 0].astype(float)
    rows, columns = rows + top, columns + left
    # the beam falls to 2^-4n² at n half-power widths
    near = (shape.at(columns[:, None] - x, rows[:, None] - y) >= 0.5 ** (4.0 * OWN_BEAMS**2)).any(axis=1)
    return rows[near], columns[near], values[near]


def _value_at(plane: NDArray[np.float32], x: float, y: float) -> float:
    """Return the plane between its pixels."""
    return float(between_pixels(plane, np.array([x]), np.array([y]))[0])


def _psf_at(psf: NDArray[np.float32], dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the dirty beam at offsets in pixels, of any shape."""
    centre_y, centre_x = (length // 2 for length in psf.shape)
    return between_pixels(psf, dx.ravel() + centre_x, dy.ravel() + centre_y).reshape(dx.shape)


def between_pixels(plane: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a dirty image at places between its pixels, shape (n,); beyond its edges it counts as 0.

    It holds no fringes finer than those of the longest baseline, `NYQUIST_MARGIN` pixels each: a sinc under a Kaiser
    window of that transition is exact to exp(-_KAISER_BETA). A spline takes several per cent from such fringes.
    """
    (columns, across), (rows, down) = _taps(x, plane.shape[1]), _taps(y, plane.shape[0])
    return np.array(
        [d @ plane[np.ix_(r, c)] @ a for r, c, d, a in zip(rows, columns, down, across, strict=True)], dtype=float
    )


def _taps(place: NDArray[np.float64], length: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the pixels, clipped to the axis, and the weights, 0 outside it, of each place: (n, 2 _HALF_WIDTH)."""
    pixels = np.floor(place).astype(np.intp)[:, None] + np.arange(1 - _HALF_WIDTH_PIX, _HALF_WIDTH_PIX + 1)
    off = place[:, None] - pixels
    inside = np.sqrt(np.maximum(1.0 - (off / _HALF_WIDTH_PIX) ** 2, 0.0))
    weights = np.sinc(off) * np.i0(_KAISER_BETA * inside) / np.i0(_KAISER_BETA)
    within = (pixels >= 0) & (pixels < length)
    return np.clip(pixels, 0, length - 1), np.where(within, weights, 0.0)
