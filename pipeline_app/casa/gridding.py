"""From visibilities to sky planes and back, w term included (ducc0's wgridder; Arras et al. 2021, A&A 646, A58)."""

from __future__ import annotations

from typing import Any

import ducc0
import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import threads
from pipeline_app.casa.sky_grid import Grid
from pipeline_app.casa.stokes import StokesI
from pipeline_app.casa.weighting import ImagingWeights

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
