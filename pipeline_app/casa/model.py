"""Model visibilities of point sources seen through the primary beam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa.measurement_set import MeasurementSetInfo, Rows
from pipeline_app.casa.pointing import BeamTrack


@dataclass(frozen=True, kw_only=True)
class PointSource:
    """A source of the model; `flux_jy` is before the primary beam, at 1.405 GHz."""

    name: str
    ra_deg: float
    dec_deg: float
    flux_jy: float
    alpha: float = 0.0


def direction_cosines(
    ra_deg: NDArray[np.float64] | float, dec_deg: NDArray[np.float64] | float, info: MeasurementSetInfo
) -> NDArray[np.float64]:
    """Return (l, m, n - 1) towards ICRS directions from the phase centre, shape (..., 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    ra0, dec0 = np.radians(info.phase_ra_deg), np.radians(info.phase_dec_deg)
    east = np.cos(dec) * np.sin(ra - ra0)
    north = np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0)
    towards = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(ra - ra0)
    return np.stack([east, north, towards - 1.0], axis=-1)


def phasors(
    uvw_m: NDArray[np.float64], lmn: NDArray[np.float64], freqs_hz: NDArray[np.float64]
) -> NDArray[np.complex64]:
    """Return the unit visibility of a direction, shape (n_rows, n_freqs).

    In a Measurement Set V(u, v, w) = exp(+2 pi i freq / c (u l + v m + w (n - 1))) with the sign of UVW that pyuvdata
    writes (antenna1 - antenna2); the tests hold this down with a source off centre, whose mirror image stays empty.
    """
    delay_sec = (uvw_m @ lmn) / telescope.SPEED_OF_LIGHT_M_S
    return np.exp(2j * np.pi * np.outer(delay_sec, freqs_hz)).astype(np.complex64)


def predict(
    sources: Sequence[PointSource], info: MeasurementSetInfo, track: BeamTrack, rows: Rows
) -> NDArray[np.complex64]:
    """Return Stokes I of the sources through the beam as it drifts, shape (n_rows, n_freqs), Jy."""
    total = np.zeros((len(rows.uvw_m), len(info.freqs_hz)), dtype=np.complex64)
    for source in sources:
        spectrum = source.flux_jy * (info.freqs_hz / telescope.REFERENCE_FREQ_HZ) ** source.alpha
        apparent = (track.response(source.ra_deg, source.dec_deg, info.freqs_hz) * spectrum).astype(np.float32)
        lmn = direction_cosines(source.ra_deg, source.dec_deg, info)
        total += apparent[rows.time_index] * phasors(rows.uvw_m, lmn, info.freqs_hz)
    return total
