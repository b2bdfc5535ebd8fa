"""Flags on a private copy of a Measurement Set: impossible values and interference, never sources.

A strong source off the phase centre makes fringes, but its amplitude is the same on every baseline and changes slowly
with frequency. So amplitudes are compared after each antenna's own level is taken out, and thresholds are factors, not
noise levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo, Rows

WILD_FACTOR = 10.0
"""Amplitude over the product of its antennas' levels; noise alone reaches 5 once in 10^7."""
INTERFERENCE_FACTOR = 2.0
"""Mean level of one channel at one time over that of its neighbours."""
NEIGHBOURS = 11
"""Channels (and times) in the running median that interference is compared with."""


@dataclass(frozen=True, kw_only=True)
class FlagReport:
    """How much was flagged; fractions of the cross-correlations."""

    before: float
    after: float
    wild: int
    interference: int


def flag_bad_data(info: MeasurementSetInfo) -> FlagReport:
    """Flag autocorrelations, zeros, values that are not finite, wild values and interference."""
    before = measurement_set.flagged_fraction(info)
    levels = _antenna_levels(info)
    wild = _flag_wild(info, levels)
    interference = _flag_interference(info, levels)
    return FlagReport(before=before, after=measurement_set.flagged_fraction(info), wild=wild, interference=interference)


def amplitudes(rows: Rows) -> NDArray[np.float64]:
    """Return the amplitudes of DATA, NaN where flagged, zero, infinite or an autocorrelation."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.abs(rows.columns["DATA"].astype(np.complex128))
    usable = np.isfinite(values) & (values > 0) & ~rows.flag & rows.cross[:, None, None]
    return np.where(usable, values, np.nan)


def _antenna_levels(info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Return log levels (n_antennas, n_pols) with log|V_ij| about level_i + level_j; NaN for antennas without data."""
    n_antennas, n_pols = len(info.antenna_names), len(info.correlations)
    medians, pairs = [], []
    for rows in measurement_set.iter_rows(info):
        medians.append(_nanmedian(np.log(amplitudes(rows)), axis=1))
        pairs.append(np.stack([rows.antenna1, rows.antenna2], axis=1))
    median, pair = np.concatenate(medians), np.concatenate(pairs)
    overall = _nanmedian(median, axis=0)
    levels = np.tile(overall / 2, (n_antennas, 1))
    # two rounds: the first is biased where an antenna's partners are themselves unusual
    for _ in range(2):
        updated = np.full((n_antennas, n_pols), np.nan)
        for antenna in range(n_antennas):
            first, second = pair[:, 0] == antenna, pair[:, 1] == antenna
            own = np.concatenate([median[first] - levels[pair[first, 1]], median[second] - levels[pair[second, 0]]])
            if len(own):
                updated[antenna] = _nanmedian(own, axis=0)
        levels = updated
    return levels


def _relative(rows: Rows, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log amplitude over the antennas' levels, NaN where unusable."""
    return np.log(amplitudes(rows)) - (levels[rows.antenna1] + levels[rows.antenna2])[:, None, :]


def _flag_wild(info: MeasurementSetInfo, levels: NDArray[np.float64]) -> int:
    wild = 0
    for rows in measurement_set.iter_rows(info):
        unusable = np.isnan(amplitudes(rows))
        with np.errstate(invalid="ignore"):
            beyond = _relative(rows, levels) > np.log(WILD_FACTOR)
        wild += int(beyond.sum()) + int((unusable & ~rows.flag & rows.cross[:, None, None]).sum())
        measurement_set.put_column(info.path, "FLAG", rows.start, rows.flag | unusable | beyond)
    return wild


def _flag_interference(info: MeasurementSetInfo, levels: NDArray[np.float64]) -> int:
    """Flag whole (time, channel, polarisation) cells whose mean level stands out from their neighbours'."""
    shape = (len(info.times_mjd), len(info.freqs_hz), len(info.correlations))
    total, count = np.zeros(shape), np.zeros(shape)
    for rows in measurement_set.iter_rows(info):
        relative = _relative(rows, levels)
        np.add.at(total, rows.time_index, np.nan_to_num(relative))
        np.add.at(count, rows.time_index, np.isfinite(relative))
    level = np.divide(total, count, out=np.zeros(shape), where=count > 0)
    along_freq = median_filter(level, size=(1, min(NEIGHBOURS, shape[1]), 1), mode="nearest")
    bad = (level - along_freq > np.log(INTERFERENCE_FACTOR)) & (count > 0)
    if not bad.any():
        return 0
    flagged = 0
    for rows in measurement_set.iter_rows(info, ()):
        flag = rows.flag | bad[rows.time_index]
        flagged += int((flag & ~rows.flag).sum())
        measurement_set.put_column(info.path, "FLAG", rows.start, flag)
    return flagged


def _nanmedian(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Median over the finite values, NaN without a warning where there are none."""
    empty = np.all(np.isnan(values), axis=axis, keepdims=True)
    return np.where(np.squeeze(empty, axis), np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=axis))
