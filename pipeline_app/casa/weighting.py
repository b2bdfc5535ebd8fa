"""Briggs weights of the visibilities that are imaged, and what follows from them.

From them follow the thermal noise to expect, and how much each time and channel counts, which is how the primary beam
must be averaged. D. Briggs' robust weighting as CASA defines it: w / (1 + W_k f²) with W_k the summed weight of the uv
cell, f² = (5·10^-R)² Σw / ΣW_k². WSClean and tclean, which weight for themselves, use the same formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import imaging_kernels, threads
from pipeline_app.casa.stokes import StokesI

MAX_GRID = 4096


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
    cells_per_metre = data.info.freqs_hz * (field_rad / telescope.SPEED_OF_LIGHT_M_S)
    half = min(int(np.ceil(np.abs(data.uvw_m[:, :2]).max() * cells_per_metre.max())) + 1, MAX_GRID // 2)
    n_parts = threads.allowed()
    grids = np.zeros((n_parts, (2 * half + 1) ** 2))
    threads.in_parts(imaging_kernels.add_density, n_parts, data.uvw_m, data.weight, cells_per_metre, half, grids)
    density = grids.sum(axis=0)
    density += density[::-1].copy()  # a visibility is also that of the opposite baseline
    samples = np.empty_like(data.weight)
    by_time_and_freq = np.zeros((n_parts, len(data.info.times_mjd), len(cells_per_metre)))
    figures = np.zeros((n_parts, 3))
    threads.in_parts(
        imaging_kernels.weigh,
        n_parts,
        data.uvw_m,
        data.time_index,
        data.weight,
        cells_per_metre,
        half,
        density,
        float((5.0 * 10.0**-robust) ** 2 * density.sum() / np.sum(density**2)),
        samples,
        by_time_and_freq,
        figures,
    )
    total = float(by_time_and_freq.sum())
    longest_uv, longest_w = figures[:, 1:].max(axis=0) / field_rad
    return ImagingWeights(
        samples=samples,
        total=total,
        by_time_and_freq=by_time_and_freq.sum(axis=0) / total,
        thermal_rms_jy=float(np.sqrt(figures[:, 0].sum())) / total,
        max_uv_wavelengths=float(longest_uv),
        max_w_wavelengths=float(longest_w),
        flagged_fraction=data.flagged_fraction,
    )
