"""From visibilities to sky planes and back, w term included (ducc0's wgridder; Arras et al. 2021, A&A 646, A58)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ducc0
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import imaging_kernels, threads
from pipeline_app.casa.fits_images import Grid
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.response import CoarsePixels, beam_towards, merged_channels
from pipeline_app.casa.stokes import ImagingWeights, StokesI
from pipeline_app.casa.threads import in_parts

ACCURACY = 2e-4
"""Of a gridding, relative to the largest visibility: 1e-4 of the brightest source is below its own uncertainty."""


class Gridder:
    """Images the visibilities of one Measurement Set on one grid.

    Planes are (n_y, n_x), float32, the phase centre at n // 2, y to the north and x to the west.
    """

    def __init__(
        self, data: StokesI, weights: ImagingWeights, grid: Grid, *, channels: NDArray[np.intp] | None = None
    ) -> None:
        """Grid all channels, or those at the indices `channels`, of which values then have only these."""
        self.data, self.grid = data, grid
        self._freqs_hz, self._samples, self._total = data.info.freqs_hz, weights.samples, weights.total
        if channels is not None:
            self._freqs_hz, self._samples = self._freqs_hz[channels], weights.samples[:, channels]
            self._total = float(self._samples.sum(dtype=float))
        # our first axis is y: the gridder's u is the Measurement Set's v, of opposite sign
        self._uvw_m = np.ascontiguousarray(data.uvw_m[:, [1, 0, 2]])

    def _options(self, accuracy: float | None = None) -> dict[str, Any]:
        return {
            "uvw": self._uvw_m,
            "freq": self._freqs_hz,
            "pixsize_x": self.grid.cell_rad,
            "pixsize_y": self.grid.cell_rad,
            "epsilon": accuracy or ACCURACY,
            "do_wgridding": True,
            "nthreads": threads.allowed(),
            "flip_u": True,
        }

    def image(self, values: NDArray[np.complex64], *, accuracy: float | None = None) -> NDArray[np.float32]:
        """Return the dirty image of visibilities (n_rows, n_channels) in Jy, in Jy per dirty beam."""
        size = self.grid.imsize_pix
        plane = ducc0.wgridder.vis2dirty(
            vis=values, wgt=self._samples, npix_x=size, npix_y=size, **self._options(accuracy)
        )
        plane /= self._total
        return plane

    def psf(self) -> NDArray[np.float32]:
        """Return the point spread function, 1 at its peak."""
        return self.image((self._samples > 0).astype(np.complex64))

    def predict(self, model: NDArray[np.float32], *, accuracy: float | None = None) -> NDArray[np.complex64]:
        """Return the visibilities (n_rows, n_channels) of a plane in Jy/pixel."""
        plane = np.ascontiguousarray(model, dtype=np.float32)
        return ducc0.wgridder.dirty2vis(dirty=plane, **self._options(accuracy))


TERMS = 3
"""What is left out then is 0.4 % of the mean, root mean square over a tile's field (1.0 % with 2, 0.06 % with 4)."""
MIN_RESPONSE = 0.02
"""Where the mean is less, its own ratio to the beam means nothing, and the terms fade out."""
MAX_GROUPS = 16
STEP_DEG = 0.1
TERM_ACCURACY = 1e-2
"""Of the degridding of a term, which is itself a small correction."""


@dataclass(frozen=True, kw_only=True)
class BeamTerms:
    """How the beam of a source differs from its mean over times and channels, as few products of map and weight.

    A clean component stands for apparent brightness as the image shows it, averaged over the tile. Each visibility saw
    it through the beam of its own time and frequency, A(t, f; l, m) (f / 1.405 GHz)^alpha, which off axis differs by
    tens of per cent from the mean P(l, m): predicted without that, sidelobes of bright sources remain at twice the
    thermal noise. The difference is smooth in all its arguments, so a singular value decomposition writes it as

        A (f / 1.405 GHz)^alpha = P(l, m) [1 + sum_k c_k(t, f) B_k(l, m)]

    and each term costs one more degridding of the model times B_k.
    """

    by_time_and_freq: list[NDArray[np.float32]]
    """c_k, each (n_times, n_channels)."""
    maps: list[NDArray[np.float32]]
    """B_k, each (n_y, n_x)."""
    strengths: list[float]
    """Of each term over the first, which is the strongest."""

    @classmethod
    def none(cls) -> BeamTerms:
        """Return no terms: every time and channel sees the mean."""
        return cls(by_time_and_freq=[], maps=[], strengths=[])

    def for_brightness(self, times_least: float) -> BeamTerms:
        """Return the terms for a model, by how much brighter it is than the faintest that needs the first."""
        count = sum(strength * times_least > 1.0 for strength in self.strengths)
        return BeamTerms(
            by_time_and_freq=self.by_time_and_freq[:count],
            maps=self.maps[:count],
            strengths=self.strengths[:count],
        )


def beam_terms(
    wcs: WCS,
    shape: tuple[int, int],
    info: MeasurementSetInfo,
    track: BeamTrack,
    weights: ImagingWeights,
    *,
    spectral_index: float,
    terms: int = TERMS,
) -> BeamTerms:
    """Return the terms for an image (n_y, n_x) of these data."""
    pixels = CoarsePixels.of(wcs, shape, STEP_DEG)
    freqs_hz, by_time = merged_channels(info, weights, MAX_GROUPS)
    ra_deg, dec_deg = np.nan_to_num(pixels.ra_deg.ravel()), np.nan_to_num(pixels.dec_deg.ravel())
    mean = beam_towards(ra_deg, dec_deg, info, track, weights, spectral_index=spectral_index)
    spectrum = (freqs_hz / telescope.REFERENCE_FREQ_HZ) ** spectral_index
    difference = track.response(ra_deg, dec_deg, freqs_hz) * spectrum - mean[:, None, None]
    difference[np.isnan(pixels.ra_deg.ravel())] = 0.0
    # weighted as the image is, so that what is left out is least in the image
    root = np.sqrt(by_time)
    left, strength, right = np.linalg.svd((difference * root).reshape(len(mean), -1), full_matrices=False)
    relative = left * strength / np.maximum(mean, MIN_RESPONSE)[:, None]
    few = range(min(terms, len(strength)))
    held = by_time.any(axis=0)  # channels without data have no coefficients, which must not enter their neighbours'
    coefficients = [np.divide(right[k].reshape(root.shape), root, out=np.zeros_like(root), where=root > 0) for k in few]
    return BeamTerms(
        by_time_and_freq=[
            np.stack([np.interp(info.freqs_hz, freqs_hz[held], row[held]) for row in term]).astype(np.float32)
            for term in coefficients
        ],
        maps=[pixels.spread(relative[:, k].reshape(pixels.ra_deg.shape)).astype(np.float32) for k in few],
        strengths=[float(strength[k] / strength[0]) if strength[0] > 0 else 0.0 for k in few],
    )


def predict_through_beam(
    gridder: Gridder,
    model: NDArray[np.float32],
    terms: BeamTerms,
    *,
    accuracy: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> NDArray[np.complex64]:
    """Return the visibilities (n_rows, n_channels) of a plane of apparent brightness in Jy/pixel.

    `accuracy` is that of the degridding with the mean beam, none for the gridder's own.
    """
    values = gridder.predict(model, accuracy=accuracy)
    for number, (coefficients, relative) in enumerate(zip(terms.by_time_and_freq, terms.maps, strict=True), start=1):
        if progress is not None:
            progress(f"predicting the model, beam term {number} of {len(terms.maps)}")
        term = gridder.predict(model * relative, accuracy=TERM_ACCURACY)
        in_parts(imaging_kernels.add_product, len(values), values, term, coefficients, gridder.data.time_index)
    return values
