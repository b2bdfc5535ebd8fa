"""Stokes I visibilities in memory: what is imaged, and what self-calibration compares with a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import imaging_kernels, measurement_set
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
        """Return the fraction of samples without a datum."""
        return 1.0 - float(np.count_nonzero(self.weight)) / self.weight.size


def read_stokes_i(info: MeasurementSetInfo, progress: Callable[[float, str], None] | None = None) -> StokesI:
    """Read DATA as Stokes I of an unpolarised sky: the mean of the parallel hands, or the one that is there.

    Weights are those of WEIGHT_SPECTRUM where the Measurement Set has it, else of WEIGHT. Values that are not finite
    count as flagged.

    Args:
        info: of the Measurement Set.
        progress: called with the fraction read and a message.

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
