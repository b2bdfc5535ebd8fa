"""Interference and failures in a private copy of a Measurement Set, found subband by subband as in raw files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.measurement_set import SECONDS_PER_DAY, MeasurementSetInfo, open_table
from pipeline_app.casa.solutions import Solutions
from pipeline_app.casa.stream_flags import Block, SubbandFlags, judge
from pipeline_app.casa.tile_cube import segments


def flag_measurement_set(info: MeasurementSetInfo, solutions: Solutions, progress: Callable[[float], None]) -> None:
    """Set FLAG of autocorrelations, of what has no solution, and of all that `stream_flags` finds.

    `solutions` are on the antennas and channels of `info`; DATA are not corrected yet. `progress` is called with the
    part of the channels that is done.
    """
    inverse = solutions.inverse()
    hands, n_correlations = np.array(info.parallel_hands, dtype=np.int64), len(info.correlations)
    with open_table(info.path, write=True) as main:
        first, second, rows = _index(info, main.getcol("ANTENNA1"), main.getcol("ANTENNA2"), main.getcol("TIME"))
        unused = main.getcol("FLAG_ROW") | ~np.isin(np.arange(info.n_rows), rows)
        for part in segments(info.freqs_hz):
            progress(part.start / len(info.freqs_hz))
            corners = [part.start, 0], [part.stop - 1, n_correlations - 1]
            flag = main.getcolslice("FLAG", *corners) | unused[:, None, None]
            block = Block(
                data=main.getcolslice("DATA", *corners)[:, None],
                bad=flag[:, None],
                rows=rows,
                first=first,
                second=second,
                hands=hands,
                n_antennas=len(info.antenna_names),
            )
            own = np.ascontiguousarray(inverse[:, part])
            _add(flag, block, judge(block, own), own)
            main.putcolslice("FLAG", flag, *corners)


def _index(
    info: MeasurementSetInfo, antenna1: NDArray[np.int32], antenna2: NDArray[np.int32], times_sec: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the antennas of each baseline, and its rows (n_baselines, n_times), -1 where there is none."""
    n_antennas = len(info.antenna_names)
    cross = np.flatnonzero(antenna1 != antenna2)
    pairs, baseline = np.unique(antenna1[cross].astype(np.int64) * n_antennas + antenna2[cross], return_inverse=True)
    rows = np.full((len(pairs), len(info.times_mjd)), -1, dtype=np.int64)
    rows[baseline, np.searchsorted(info.times_mjd, times_sec[cross] / SECONDS_PER_DAY)] = cross
    return pairs // n_antennas, pairs % n_antennas, rows


def _add(flag: NDArray[np.bool_], block: Block, found: SubbandFlags, inverse: NDArray[np.complex64]) -> None:
    """Add to `flag` (n_rows, n_channels, n_correlations), in place; cross-hands go where a parallel hand goes."""
    baseline, time = np.nonzero(block.rows >= 0)
    rows, first, second = block.rows[baseline, time], block.first[baseline], block.second[baseline]
    gain_power, hands = np.abs(inverse) ** 2, block.hands
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.abs(block.data[rows, 0][..., hands]) ** 2 * gain_power[first] * gain_power[second]
    power *= found.channel_weight
    limit = found.levels[first] * found.levels[second] * found.clip[baseline]
    off = ~((power > 0) & (power < limit[:, None])) | found.bad_cell[time] | found.bad_row[baseline, time][:, None]
    everywhere = np.repeat(off.any(axis=-1, keepdims=True), flag.shape[-1], axis=-1)
    everywhere[..., hands] = off
    flag[rows] |= everywhere
