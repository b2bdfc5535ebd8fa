"""What an image shows against what was injected, without known positions: sources missed, sources invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, maximum_filter

from pipeline_app.simulation.spec import Source
from pipeline_app.telescope import angular_separation_deg

MIN_SNR = 7.0
"""Sources above this must be found, and peaks above this must be sources."""
FOUND_SNR = 5.0
"""A source is found by a peak above this: noise takes two sigma from one source in 44."""
MIN_RESPONSE = 0.1
"""Where the primary beam leaves less, the corrected image is blank."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Sources and peaks of one image; a peak belongs to a source within one beam (its major axis) of it."""

    n_expected: int
    """Injected sources of which the image should show more than 7 sigma."""
    missed: tuple[str, ...]
    """Names of those without a peak."""
    n_peaks: int
    """Peaks above 7 sigma."""
    invented: tuple[str, ...]
    """Those without an injected source, of any flux: position and height in words."""


def judge_detections(
    flat_path: str | Path, response_path: str | Path, injected: Sequence[Source], *, rms_jy: float
) -> Detections:
    """Find peaks in an image and compare them with what was injected.

    Args:
        flat_path: FITS of apparent brightness, its noise the same everywhere, Jy/beam.
        response_path: FITS that turns it into Stokes I.
        injected: all sources of the tile.
    """
    with fits.open(flat_path) as stored:
        header, flat = stored[0].header, np.squeeze(stored[0].data).astype(float)
    response = np.squeeze(fits.getdata(response_path)).astype(float)
    wcs = WCS(header).celestial
    beam_deg = float(header["BMAJ"])
    rows, columns = _peaks(flat, response, FOUND_SNR * rms_jy, beam_deg / abs(float(wcs.wcs.cdelt[1])))
    ra_deg, dec_deg = wcs.all_pix2world(columns, rows, 0)
    heights = flat[rows, columns] / rms_jy
    source_ra_deg, source_dec_deg = (np.array([getattr(s, key) for s in injected]) for key in ("ra_deg", "dec_deg"))
    apart_deg = angular_separation_deg(ra_deg[:, None], dec_deg[:, None], source_ra_deg, source_dec_deg)
    near = apart_deg <= beam_deg
    expected = np.array([s.flux_jy for s in injected]) * _at(response, wcs, source_ra_deg, source_dec_deg) / rms_jy
    high = heights > MIN_SNR
    return Detections(
        n_expected=int((expected > MIN_SNR).sum()),
        missed=tuple(injected[k].name for k in np.flatnonzero((expected > MIN_SNR) & ~near.any(axis=0))),
        n_peaks=int(high.sum()),
        invented=tuple(
            f"{heights[k]:.1f} sigma at {ra_deg[k] % 360:.4f} {dec_deg[k]:+.4f}"
            for k in np.flatnonzero(high & ~near.any(axis=1))
        ),
    )


def _peaks(
    flat: NDArray[np.float64], response: NDArray[np.float64], least_jy: float, beam_pix: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pixels that are the highest within half a beam."""
    seen = np.where(response >= MIN_RESPONSE, flat, -np.inf)
    size = max(3, 2 * round(beam_pix / 2) + 1)
    rows, columns = np.nonzero((seen == maximum_filter(seen, size=size)) & (seen > least_jy))
    return rows, columns


def _at(
    response: NDArray[np.float64], wcs: WCS, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the response towards sources, 0 outside the image and where the corrected image is blank."""
    x, y = wcs.all_world2pix(ra_deg, dec_deg, 0)
    values = map_coordinates(response, [y, x], order=1, cval=0.0)
    return np.where(values >= MIN_RESPONSE, values, 0.0)
