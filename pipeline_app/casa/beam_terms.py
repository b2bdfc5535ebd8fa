"""How the beam of a source differs from its mean over times and channels, as few products of map and weight.

A clean component stands for apparent brightness as the image shows it, averaged over the tile. Each visibility saw it
through the beam of its own time and frequency, A(t, f; l, m) (f / 1.405 GHz)^alpha, which off axis differs by tens of
per cent from the mean P(l, m): predicted without that, sidelobes of bright sources remain at twice the thermal noise.
The difference is smooth in all its arguments, so a singular value decomposition writes it as a short sum,

    A (f / 1.405 GHz)^alpha = P(l, m) [1 + sum_k c_k(t, f) B_k(l, m)]

and each term costs one more degridding of the model times B_k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import imaging_kernels
from pipeline_app.casa.gridding import Gridder
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.response import CoarsePixels, beam_towards, merged_channels
from pipeline_app.casa.threads import in_parts
from pipeline_app.casa.weighting import ImagingWeights

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
    """The terms of the sum."""

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
    coefficients = [np.divide(right[k].reshape(root.shape), root, out=np.zeros_like(root), where=root > 0) for k in few]
    return BeamTerms(
        by_time_and_freq=[
            np.stack([np.interp(info.freqs_hz, freqs_hz, row) for row in term]).astype(np.float32)
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
