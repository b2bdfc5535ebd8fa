"""Point sources: found as the bright peaks of an image, and the visibilities that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from pipeline_app import telescope
from pipeline_app.casa.fits_images import SkyImage
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


def vertex(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the place, in steps from the middle, and the height of a parabola's top through three values."""
    left, middle, right = (float(value) for value in values)
    bend = left - 2 * middle + right
    if bend >= 0:
        return 0.0, middle
    place = (left - right) / (2 * bend)
    return place, middle - (left - right) * place / 4


MIN_RESPONSE = 0.1
APART_BEAMS = 1.5
"""Two peaks closer than this are one."""


def bright_sources(
    flat: SkyImage,
    response: NDArray[np.float64],
    *,
    min_snr: float,
    min_fraction: float,
    limit: int,
    spectral_index: float = -0.7,
) -> list[PointSource]:
    """Return the brightest peaks of an image as point sources, the brightest first.

    Artefacts of phase errors around a bright source stay below a few per cent of it: peaks that are fainter than
    `min_fraction` of the brightest are left out, since a model that holds the errors would hide them. For the same
    reason a peak counts as a point, however the errors have spread it.

    Args:
        flat: image before the correction for the primary beam, Jy/beam.
        response: what turns it into Stokes I at 1.405 GHz, same shape.
        min_snr: least peak over the noise of the image.
        min_fraction: least peak over the largest.
        limit: most sources.
        spectral_index: assumed of all.
    """
    seen = np.where(response >= MIN_RESPONSE, flat.data, 0.0)
    threshold = max(min_snr * float(mad_std(flat.data, ignore_nan=True)), min_fraction * float(seen.max()))
    size = max(3, round(APART_BEAMS * flat.beam.major_arcsec / flat.cell_arcsec))
    peaks = (seen == ndimage.maximum_filter(seen, size=size)) & (seen > threshold)
    peaks[[0, -1]] = peaks[:, [0, -1]] = False
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-seen[rows, columns])[:limit]
    sources = []
    for y, x in zip(rows[order], columns[order], strict=True):
        dx, height_x = vertex(seen[y, x - 1 : x + 2])
        dy, height_y = vertex(seen[y - 1 : y + 2, x])
        ra_deg, dec_deg = flat.wcs.all_pix2world(x + dx, y + dy, 0)
        peak_jy = height_x + height_y - seen[y, x]
        sources.append(
            PointSource(
                name=f"{y},{x}",
                ra_deg=float(ra_deg) % 360.0,
                dec_deg=float(dec_deg),
                flux_jy=float(peak_jy / response[y, x]),
                alpha=spectral_index,
            )
        )
    return sources


class PointModel:
    """Point sources through the beam of a Measurement Set's tile."""

    def __init__(self, sources: list[PointSource], info: MeasurementSetInfo, track: BeamTrack) -> None:
        self._freqs_hz = info.freqs_hz
        ra_deg, dec_deg = (np.array([getattr(s, name) for s in sources]) for name in ("ra_deg", "dec_deg"))
        self._lmn = direction_cosines(ra_deg, dec_deg, info)
        spectra = np.array([s.flux_jy * (info.freqs_hz / telescope.REFERENCE_FREQ_HZ) ** s.alpha for s in sources])
        apparent = track.response(ra_deg, dec_deg, info.freqs_hz) * spectra[:, None, :]
        self._apparent_jy = np.ascontiguousarray(apparent.transpose(1, 2, 0), dtype=np.float32)

    def visibilities(self, rows: Rows) -> NDArray[np.complex64]:
        """Return Stokes I of some rows, shape (n_rows, n_channels), Jy.

        In a Measurement Set V(u, v, w) = exp(+2 pi i freq / c (u l + v m + w (n - 1))) with the sign of UVW that
        pyuvdata writes (antenna1 - antenna2).
        """
        delays_sec = rows.uvw_m @ self._lmn.T / telescope.SPEED_OF_LIGHT_M_S
        return _sum_points(delays_sec, rows.time_index, self._freqs_hz, self._apparent_jy)


@njit(nogil=True, cache=True, fastmath=True)
def _sum_points(delays_sec, time_index, freqs_hz, apparent_jy):  # pragma: no cover - compiled
    """Sum points of apparent fluxes (n_times, n_channels, n_sources) at delays (n_rows, n_sources), even channels."""
    n_rows, n_sources = delays_sec.shape
    n_channels = len(freqs_hz)
    step_hz = freqs_hz[1] - freqs_hz[0] if n_channels > 1 else 0.0
    out = np.empty((n_rows, n_channels), dtype=np.complex64)
    turn, step = np.empty(n_sources, np.complex128), np.empty(n_sources, np.complex128)
    for row in range(n_rows):
        t = time_index[row]
        for s in range(n_sources):
            start = 2 * np.pi * ((freqs_hz[0] * delays_sec[row, s]) % 1.0)
            each = 2 * np.pi * ((step_hz * delays_sec[row, s]) % 1.0)
            turn[s] = complex(np.cos(start), np.sin(start))
            step[s] = complex(np.cos(each), np.sin(each))
        for c in range(n_channels):
            total = 0j
            for s in range(n_sources):
                total += apparent_jy[t, c, s] * turn[s]
                turn[s] *= step[s]
            out[row, c] = total
    return out
