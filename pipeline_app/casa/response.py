"""The effective response of a tile: what turns apparent brightness into Stokes I at 1.405 GHz.

The beam of a drifting tile stands still over the ground while the sky drifts through, and it is narrower at the top of
the band. An image of the whole tile shows the weighted mean of what all times and channels saw, so its response is

    P(l, m) = (1 - smearing(l, m)) sum_tf W_tf A(t, f; l, m) (f / 1.405 GHz)^alpha / sum_tf W_tf

with W the imaging weights, A the Airy power beam of the dishes at that time, alpha the spectral index assumed of the
sources, and the smearing that of channels and integrations (see `smearing`). An index wrong by 0.3 changes a flux by
0.3 ln(f_eff / 1.405 GHz), far below 1 % for a full band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from pipeline_app import telescope
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.model import direction_cosines
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.smearing import Sampling, mean_smearing
from pipeline_app.casa.stokes import ImagingWeights, StokesI

COARSE_STEP_DEG = 0.05
"""The beam is computed this far apart and interpolated: it changes over degrees."""
SMEARING_STEP_DEG = 0.3
"""The same for smearing, which goes with the square of the offset and is small."""
MAX_FREQS = 32
"""Channels are merged into at most this many groups; the beam is linear over 6 MHz to 1e-5."""
SMEARING_ROWS = 4000
SMEARING_FREQS = 8
"""Visibilities that stand for all when smearing is averaged."""


@dataclass(frozen=True, kw_only=True)
class CoarsePixels:
    """Every n-th pixel of an image, from which smooth maps are interpolated."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    shape: tuple[int, int]
    """Of the image."""
    ra_deg: NDArray[np.float64]
    """(n_y, n_x) of the coarse pixels; NaN where the sky ends."""
    dec_deg: NDArray[np.float64]

    @classmethod
    def of(cls, wcs: WCS, shape: tuple[int, int], step_deg: float = COARSE_STEP_DEG) -> CoarsePixels:
        """Return the pixels of an image (n_y, n_x) that lie about `step_deg` apart, its edges included."""
        step = max(1, round(step_deg / abs(wcs.wcs.cdelt[1])))
        y = np.unique(np.append(np.arange(0, shape[0], step), shape[0] - 1)).astype(float)
        x = np.unique(np.append(np.arange(0, shape[1], step), shape[1] - 1)).astype(float)
        ra_deg, dec_deg = wcs.all_pix2world(*np.meshgrid(x, y), 0)
        return cls(x=x, y=y, shape=shape, ra_deg=ra_deg, dec_deg=dec_deg)

    def spread(self, coarse: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a map (n_y, n_x) of the coarse pixels on all pixels; NaN counts as zero."""
        spline = RectBivariateSpline(
            self.y, self.x, np.nan_to_num(coarse), kx=min(3, len(self.y) - 1), ky=min(3, len(self.x) - 1)
        )
        return spline(np.arange(self.shape[0]), np.arange(self.shape[1]))


def effective_response(
    wcs: WCS,
    shape: tuple[int, int],
    data: StokesI,
    track: BeamTrack,
    weights: ImagingWeights,
    *,
    spectral_index: float,
    smearing: bool = True,
) -> NDArray[np.float64]:
    """Return P on an image's pixels, shape (n_y, n_x), with or without smearing; zero where the sky ends."""
    pixels = CoarsePixels.of(wcs, shape)
    coarse = beam_towards(pixels.ra_deg, pixels.dec_deg, data.info, track, weights, spectral_index=spectral_index)
    beam = np.clip(pixels.spread(coarse), 0.0, None)
    if not smearing:
        return beam
    sparse = CoarsePixels.of(wcs, shape, SMEARING_STEP_DEG)
    loss = sparse.spread(smearing_towards(sparse.ra_deg, sparse.dec_deg, data, track, weights))
    return beam * (1.0 - loss)


def beam_towards(
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
    info: MeasurementSetInfo,
    track: BeamTrack,
    weights: ImagingWeights,
    *,
    spectral_index: float,
) -> NDArray[np.float64]:
    """Return P without smearing, in the shape of `ra_deg`."""
    freqs_hz, by_time = merged_channels(info, weights, MAX_FREQS)
    total = np.zeros(np.shape(ra_deg))
    for freq_hz, times in zip(freqs_hz, by_time.T, strict=True):
        beam = track.response(ra_deg, dec_deg, [freq_hz])[..., 0]
        total += beam @ times * (freq_hz / telescope.REFERENCE_FREQ_HZ) ** spectral_index
    return total


def merged_channels(
    info: MeasurementSetInfo, weights: ImagingWeights, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean frequencies (n_groups,) and weights (n_times, n_groups) of neighbouring channels with data."""
    groups = np.array_split(np.arange(len(info.freqs_hz)), min(most, len(info.freqs_hz)))
    by_time = np.stack([weights.by_time_and_freq[:, group].sum(axis=1) for group in groups], axis=1)
    used = by_time.sum(axis=0) > 0
    freqs_hz = [
        np.average(info.freqs_hz[group], weights=weights.by_time_and_freq[:, group].sum(axis=0))
        for group, any_data in zip(groups, used, strict=True)
        if any_data
    ]
    return np.array(freqs_hz), by_time[:, used]


def smearing_towards(
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
    data: StokesI,
    track: BeamTrack,
    weights: ImagingWeights,
) -> NDArray[np.float64]:
    """Return the weighted mean loss to channel width and integration time, in the shape of `ra_deg`."""
    info = data.info
    rows = np.unique(np.linspace(0, len(data.uvw_m) - 1, SMEARING_ROWS).round().astype(np.intp))
    channels = weights.some_channels(SMEARING_FREQS)
    tracked = direction_cosines(track.ra_deg, track.dec_deg, info)[data.time_index[rows], :2]
    sampling = Sampling(
        uvw_m=data.uvw_m[rows],
        freqs_hz=info.freqs_hz[channels],
        weights=weights.samples[np.ix_(rows, channels)],
        integration_sec=info.integration_sec,
        declination_deg=info.phase_dec_deg,
        tracked_lm=tracked,
    )
    if not sampling.weights.any():
        return np.zeros(np.shape(ra_deg))
    lmn = direction_cosines(np.nan_to_num(ra_deg), np.nan_to_num(dec_deg), info)
    return mean_smearing(lmn[..., 0], lmn[..., 1], sampling, channel_width_hz=info.channel_width_hz)
