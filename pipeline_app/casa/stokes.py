"""Stokes I visibilities in memory, and the Briggs weights with which they are imaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import imaging_kernels, measurement_set, threads
from pipeline_app.casa.measurement_set import MeasurementSetInfo, Rows, open_table
from pipeline_app.casa.threads import in_parts
from tasks_app.engine.handler import InvalidInput


@dataclass(frozen=True, kw_only=True)
class StokesI:
    """The cross-correlations of one Measurement Set, in the order of its rows."""

    info: MeasurementSetInfo
    uvw_m: NDArray[np.float64]
    """(n_rows, 3), as the Measurement Set has them."""
    time_index: NDArray[np.intp]
    """(n_rows,), into `MeasurementSetInfo.times_mjd`."""
    values: NDArray[np.complex64]
    """(n_rows, n_channels), Jy; zero where there is no datum."""
    weight: NDArray[np.float32]
    """(n_rows, n_channels), inverse variance of each part in 1/Jy²; zero where there is no datum."""

    @property
    def flagged_fraction(self) -> float:
        return 1.0 - float(np.count_nonzero(self.weight)) / self.weight.size


def read_stokes_i(info: MeasurementSetInfo, progress: Callable[[float, str], None] | None = None) -> StokesI:
    """Read DATA as Stokes I of an unpolarised sky: the mean of the parallel hands, or the one that is there.

    Weights are those of WEIGHT_SPECTRUM where the Measurement Set has it, else of WEIGHT. Values that are not finite
    count as flagged. `progress` is called with the fraction read and a message.

    Raises:
        InvalidInput: all data are flagged.
    """
    column = weight_column(info)
    n_channels = len(info.freqs_hz)
    n_cross = sum(int(rows.cross.sum()) for rows in measurement_set.iter_rows(info, ()))
    uvw_m, time_index = np.empty((n_cross, 3)), np.empty(n_cross, dtype=np.intp)
    values, weight = np.empty((n_cross, n_channels), np.complex64), np.empty((n_cross, n_channels), np.float32)
    start = 0
    for rows in measurement_set.iter_rows(info, ("DATA", column)):
        if progress is not None:
            progress(rows.start / info.n_rows, f"reading visibilities, row {rows.start} of {info.n_rows}")
        stop = start + int(rows.cross.sum())
        uvw_m[start:stop], time_index[start:stop] = rows.uvw_m[rows.cross], rows.time_index[rows.cross]
        values[start:stop], weight[start:stop] = combine_hands(rows, rows.columns[column], info.parallel_hands)
        start = stop
    if not weight.any():
        raise InvalidInput(f"{info.path}: all data are flagged")
    return StokesI(info=info, uvw_m=uvw_m, time_index=time_index, values=values, weight=weight)


def weight_column(info: MeasurementSetInfo) -> str:
    """Return the column to weight by: WEIGHT_SPECTRUM if it has values."""
    with open_table(info.path) as main:
        has_spectrum = "WEIGHT_SPECTRUM" in main.colnames() and main.iscelldefined("WEIGHT_SPECTRUM", 0)
    return "WEIGHT_SPECTRUM" if has_spectrum else "WEIGHT"


def combine_hands(
    rows: Rows, weights: NDArray[np.float32], hands: list[int]
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return Stokes I and its weight for the cross-correlations of a run of rows, each (n_cross, n_channels).

    With both hands the value is their mean, whatever their weights, so that no linear polarisation enters; its
    variance is a quarter of the sum of theirs. With one hand it is that hand.
    """
    cross = np.flatnonzero(rows.cross)
    if weights.ndim == 2:
        weights = np.broadcast_to(weights[:, None, :], rows.flag.shape)
    shape = len(cross), rows.flag.shape[1]
    values, weight_i = np.empty(shape, dtype=np.complex64), np.empty(shape, dtype=np.float32)
    in_parts(
        imaging_kernels.combine_hands,
        len(cross),
        cross,
        rows.columns["DATA"],
        rows.flag,
        weights,
        np.array(hands),
        values,
        weight_i,
    )
    return values, weight_i


MAX_GRID = 4096


@dataclass(frozen=True, kw_only=True)
class ImagingWeights:
    """The weights of one Measurement Set, field size and robustness, and what follows from them.

    D. Briggs' robust weighting as CASA defines it: w / (1 + W_k f²) with W_k the summed weight of the uv cell,
    f² = (5·10^-R)² Σw / ΣW_k². WSClean and tclean, which weight for themselves, use the same formula.
    """

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

    def some_channels(self, most: int) -> NDArray[np.intp]:
        """Return the indices of at most that many channels with data, spread over them."""
        with_data = np.flatnonzero(self.by_time_and_freq.any(axis=0))
        return np.unique(with_data[np.linspace(0, len(with_data) - 1, most).round().astype(np.intp)])


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
