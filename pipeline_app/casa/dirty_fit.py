"""Fluxes at fixed positions from the dirty image: the joint least-squares fit to the visibilities, done on pixels.

The dirty image of a point source is its flux times the dirty beam, and the gradient of the misfit of the visibilities
with respect to a flux is the residual image at its position. So the fluxes S of some positions that fit best, all else
being the clean components of other sources, solve

    sum_j PSF(x_i - x_j) S_j = D(x_i),    D = residual + PSF * (components of these sources)

Neither the depth of CLEAN nor its stopping, nor a restoring beam that is not the shape of the dirty beam, enters: what
was not cleaned is in the residual, at its full height. Sources that CLEAN left lie under each other's sidelobes, whose
mean near a source is negative: with a hundred of them in a field each would be 0.2 of its error too faint, so what was
left of all positions is subtracted from D. The noise of D has, but for robust weighting, the covariance
sigma² PSF, so that of the fluxes is sigma² PSF(x_i - x_j)^-1 with sigma the scatter of the residual's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from pipeline_app.casa.fits_images import NYQUIST_MARGIN
from pipeline_app.casa.forced_fit import BeamShape, Fit, local_rms_jy

OWN_BEAMS = 1.0
"""Components within this many half-power widths of a position are its source's, whose flux is measured again."""
ROUNDS = 3
"""Of fits, each to a residual without what the one before found that CLEAN had left."""
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


def fit_all(
    sky: DirtySky,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    groups: Sequence[NDArray[np.intp]],
    shape: BeamShape,
) -> list[Fit]:
    """Fit the apparent fluxes of sources at fixed positions, those of a group together; errors are of the noise alone.

    What CLEAN left of the sources of other groups is taken out of the residual, as it is found, in turn.
    """
    blends = [_Blend.of(sky, x[group], y[group], shape) for group in groups]
    left = np.zeros(len(x))
    residual, fits = sky.residual, [Fit(peak_jy=0.0, error_jy=0.0, local_rms_jy=0.0)] * len(x)
    for last in (False,) * (ROUNDS - 1) + (True,) if len(groups) > 1 else (True,):
        for group, blend in zip(groups, blends, strict=True):
            for index, fit, cleaned in zip(group, blend.fit(sky, residual, left[group]), blend.cleaned_jy, strict=True):
                fits[index] = fit
                left[index] = fit.peak_jy - cleaned
        if not last:
            residual = _without(sky, x, y, left)
    return fits


@dataclass(frozen=True, kw_only=True)
class _Blend:
    """Sources that are fitted together, and what of their fits does not depend on the residual."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    shape: BeamShape
    inverse: NDArray[np.floating]
    """Of the dirty beam between the positions."""
    from_components_jy: NDArray[np.float64]
    """What their own components add to the dirty image at the positions."""
    cleaned_jy: NDArray[np.float64]
    """Sum of the components nearest to each."""

    @classmethod
    def of(cls, sky: DirtySky, x: NDArray[np.float64], y: NDArray[np.float64], shape: BeamShape) -> _Blend:
        rows, columns, values = _own_components(sky.model, x, y, shape)
        added, cleaned = np.zeros(len(x)), np.zeros(len(x))
        if len(values):
            added = _psf_at(sky.psf, x[:, None] - columns, y[:, None] - rows) @ values
            nearest = np.hypot(x[:, None] - columns, y[:, None] - rows).argmin(axis=0)
            np.add.at(cleaned, nearest, values)
        inverse = np.linalg.pinv(_psf_at(sky.psf, x[:, None] - x, y[:, None] - y))
        return cls(x=x, y=y, shape=shape, inverse=inverse, from_components_jy=added, cleaned_jy=cleaned)

    def fit(self, sky: DirtySky, residual: NDArray[np.float32], left_jy: NDArray[np.float64]) -> list[Fit]:
        """Fit to a residual from which `left_jy` of each source has been taken, at the nearest pixel."""
        x, y = self.x, self.y
        dirty = self.from_components_jy + [_value_at(residual, a, b) for a, b in zip(x, y, strict=True)]
        if left_jy.any():
            dirty = dirty + _psf_at(sky.psf, x[:, None] - np.rint(x), y[:, None] - np.rint(y)) @ left_jy
        loosened = np.sqrt(np.maximum(np.diag(self.inverse), 1.0))
        noise = [local_rms_jy(residual, a, b, self.shape) for a, b in zip(x, y, strict=True)]
        return [
            Fit(peak_jy=float(flux), error_jy=float(sigma * factor), local_rms_jy=sigma)
            for flux, sigma, factor in zip(self.inverse @ dirty, noise, loosened, strict=True)
        ]


def _without(
    sky: DirtySky, x: NDArray[np.float64], y: NDArray[np.float64], left_jy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the residual without `left_jy` at the pixels nearest to the positions."""
    points = np.zeros_like(sky.residual)
    np.add.at(points, (np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)), left_jy.astype(np.float32))
    height, width = sky.residual.shape
    top, left = (length // 2 for length in sky.psf.shape)
    seen = fftconvolve(points, sky.psf.astype(np.float32), mode="full")
    return (sky.residual - seen[top : top + height, left : left + width]).astype(np.float32)


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
