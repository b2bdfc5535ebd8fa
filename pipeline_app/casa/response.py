"""The effective response of a drift tile: what turns apparent brightness into Stokes I at 1.405 GHz.

The beam stands still over the ground while the sky drifts through, and it is narrower at the top of the band. A cleaned
image of the whole tile shows the weighted mean of what all times and channels saw, so its response is

    P(l, m) = sum_tf W_tf A(t, f; l, m) (f / 1.405 GHz)^alpha / sum_tf W_tf

with W the imaging weights, A the Airy power beam of the dishes at that time and alpha the spectral index assumed of the
sources. An index wrong by 0.3 changes a flux by 0.3 ln(f_eff / 1.405 GHz), far below 1 % for a full band.
"""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from pipeline_app import telescope
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.weighting import ImagingWeights

COARSE_STEP_DEG = 0.05
"""The beam is computed this far apart and interpolated: it changes over degrees."""
MAX_FREQS = 32
"""Channels are merged into at most this many groups; the beam is linear over 6 MHz to 1e-5."""


def effective_response(
    wcs: WCS,
    shape: tuple[int, int],
    info: MeasurementSetInfo,
    track: BeamTrack,
    weights: ImagingWeights,
    *,
    spectral_index: float,
) -> NDArray[np.float64]:
    """Return P on an image's pixels, shape (n_y, n_x); zero where the sky ends."""
    step = max(1, round(COARSE_STEP_DEG / abs(wcs.wcs.cdelt[1])))
    y = np.unique(np.append(np.arange(0, shape[0], step), shape[0] - 1)).astype(float)
    x = np.unique(np.append(np.arange(0, shape[1], step), shape[1] - 1)).astype(float)
    ra, dec = wcs.all_pix2world(*np.meshgrid(x, y), 0)
    coarse = response_towards(ra, dec, info, track, weights, spectral_index=spectral_index)
    degree = min(3, len(x) - 1, len(y) - 1)
    spline = RectBivariateSpline(y, x, np.nan_to_num(coarse), kx=degree, ky=degree)
    return np.clip(spline(np.arange(shape[0]), np.arange(shape[1])), 0.0, None)


def response_towards(
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
    info: MeasurementSetInfo,
    track: BeamTrack,
    weights: ImagingWeights,
    *,
    spectral_index: float,
) -> NDArray[np.float64]:
    """Return P towards ICRS directions, in the shape of `ra_deg`."""
    total = np.zeros(np.shape(ra_deg))
    groups = np.array_split(np.arange(len(info.freqs_hz)), min(MAX_FREQS, len(info.freqs_hz)))
    for group in groups:
        by_time = weights.by_time_and_freq[:, group].sum(axis=1)
        if not by_time.any():
            continue
        freq_hz = float(np.average(info.freqs_hz[group], weights=weights.by_time_and_freq[:, group].sum(axis=0)))
        beam = track.response(ra_deg, dec_deg, [freq_hz])[..., 0]
        total += beam @ by_time * (freq_hz / telescope.REFERENCE_FREQ_HZ) ** spectral_index
    return total
