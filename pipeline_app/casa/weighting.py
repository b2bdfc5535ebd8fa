"""Briggs weights of the visibilities that are imaged, and what follows from them.

From them follow the thermal noise to expect, and how much each time and channel counts, which is how the primary beam
must be averaged. D. Briggs' robust weighting as CASA defines it: w / (1 + W_k f²) with W_k the summed weight of the uv
cell, f² = (5·10^-R)² Σw / ΣW_k². WSClean and tclean, which weight for themselves, use the same formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa.stokes import StokesI

MAX_GRID = 4096
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class ImagingWeights:
    """What the weights of one Measurement Set, field size and robustness amount to."""

    samples: NDArray[np.float32]
    """(n_rows, n_channels), of each visibility of a `StokesI`; any scale."""
    total: float
    """Sum of `samples`."""
    by_time_and_freq: NDArray[np.float64]
    """(n_times, n_channels), sums to 1."""
    thermal_rms_jy: float
    """Of a Stokes I image, from the data's own weights (1/Jy²)."""
    max_uv_wavelengths: float
    max_w_wavelengths: float
    flagged_fraction: float

    def effective_freq_hz(self, freqs_hz: NDArray[np.float64]) -> float:
        """Return the weighted mean frequency."""
        return float(self.by_time_and_freq.sum(axis=0) @ freqs_hz)


def imaging_weights(data: StokesI, *, robust: float, field_rad: float) -> ImagingWeights:
    """Compute the weights that a field of this size gets."""
    per_metre = data.info.freqs_hz / telescope.SPEED_OF_LIGHT_M_S
    half = min(int(np.ceil(np.abs(data.uvw_m[:, :2]).max() * per_metre.max() * field_rad)) + 1, MAX_GRID // 2)
    density = _density(data, per_metre * field_rad, half)
    factor = (5.0 * 10.0**-robust) ** 2 * density.sum() / np.sum(density**2)
    samples = np.empty_like(data.weight)
    by_time_and_freq = np.zeros((len(data.info.times_mjd), len(per_metre)))
    variance, longest_uv, longest_w = 0.0, 0.0, 0.0
    for part in _parts(data):
        natural = data.weight[part]
        weight = natural / (1.0 + density[_cells(data.uvw_m[part], per_metre * field_rad, half)] * factor)
        samples[part] = weight
        for time in np.unique(data.time_index[part]):
            by_time_and_freq[time] += weight[data.time_index[part] == time].sum(axis=0)
        variance += float(np.sum(np.divide(weight**2, natural, out=np.zeros_like(weight), where=natural > 0)))
        # the longest in wavelengths of each row is that of its last channel with data
        top = np.where(natural > 0, per_metre, 0.0).max(axis=1)
        longest_uv = max(longest_uv, float((np.hypot(*data.uvw_m[part, :2].T) * top).max()))
        longest_w = max(longest_w, float((np.abs(data.uvw_m[part, 2]) * top).max()))
    total = float(by_time_and_freq.sum())
    return ImagingWeights(
        samples=samples,
        total=total,
        by_time_and_freq=by_time_and_freq / total,
        thermal_rms_jy=float(np.sqrt(variance)) / total,
        max_uv_wavelengths=longest_uv,
        max_w_wavelengths=longest_w,
        flagged_fraction=data.flagged_fraction,
    )


def _density(data: StokesI, cells_per_metre: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Return the summed weight of every uv cell, flat; a visibility is also that of the opposite baseline."""
    density = np.zeros((2 * half + 1) ** 2)
    for part in _parts(data):
        cells = _cells(data.uvw_m[part], cells_per_metre, half).ravel()
        density += np.bincount(cells, weights=data.weight[part].ravel(), minlength=len(density))
    return density + density[::-1]


def _parts(data: StokesI) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, len(data.uvw_m), ROWS_AT_ONCE))


def _cells(uvw_m: NDArray[np.float64], cells_per_metre: NDArray[np.float64], half: int) -> NDArray[np.intp]:
    """Return indices into the flat grid, (n_rows, n_channels); what lies beyond the grid counts in its rim."""
    u, v = (
        np.clip(np.rint(uvw_m[:, axis, None] * cells_per_metre).astype(np.intp), -half, half) + half for axis in (0, 1)
    )
    return u * (2 * half + 1) + v
