"""Model visibilities of point sources seen through the primary beam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.measurement_set import MeasurementSetInfo


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
