"""The private copy that a calibration is solved on: one tile's cross-correlations in memory, flagged and levelled.

1.3 GB at full size, in single precision. Time is not averaged here but in the sums that the solver works on (see
`solve_kernels.accumulate`), where the model has the time of each integration and averaging loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pipeline_app import telescope
from pipeline_app.casa import cube_kernels, measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.threads import in_parts

WILD_FACTOR = 10.0
"""Amplitude over the product of its antennas' levels; noise alone reaches 5 once in 10^7."""
CELL_SIGMA = 6.0
"""A (time, channel) cell whose level over all baselines stands out by this much, in units of the cells' own scatter."""
MIN_CELL_EXCESS = 0.05
"""And by at least this factor in amplitude, above and below its neighbours."""
NEIGHBOURS = 11
"""Channels in the running median that a cell is compared with."""
_LEVEL_SAMPLES = 3000
_ROWS_PER_CHUNK = 10_000
_RESTART_CHANNELS = 64


@dataclass(kw_only=True)
class TileCube:
    """Visibilities of a tile over the product of their antennas' levels; zero where unusable."""

    info: MeasurementSetInfo
    data: NDArray[np.complex64]
    """(n_baselines, n_times, n_channels, n_hands)."""
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    """Antennas of each baseline."""
    uvw_m: NDArray[np.float64]
    """(n_baselines, n_times, 3); zero where a row is missing."""
    levels: NDArray[np.float64]
    """(n_antennas, n_hands): |V_ij| was divided by level_i level_j; NaN for what has no data."""
    n_samples: int
    """Cross-correlations in the Measurement Set."""
    smeared: bool = True
    """Whether channels and integrations average what they cover, as a correlator's do."""
    taken: slice = field(default_factory=lambda: slice(None))
    """Channels of the tile that these are, where some were left out."""
    flagged: dict[str, int] = field(default_factory=dict)
    """How many visibilities each kind of flag took."""

    @property
    def restart(self) -> NDArray[np.bool_]:
        """(n_channels): where a recurrence over channels must begin again, see `solve_kernels`."""
        freqs_hz = self.info.freqs_hz
        restart = np.arange(len(freqs_hz)) % _RESTART_CHANNELS == 0
        if len(freqs_hz) > 2:
            change = np.abs(np.diff(freqs_hz, 2)) > 1e-6 * self.info.channel_width_hz
            restart[1:-1] |= change
            restart[2:] |= change
        return restart

    def thinned(self, stride: int) -> TileCube:
        """Return a copy of every `stride`-th channel; of all where they are few."""
        taken = slice(stride // 2, None, stride) if len(self.info.freqs_hz) >= 64 * stride else slice(None)
        info = replace(self.info, freqs_hz=self.info.freqs_hz[taken])
        return replace(self, info=info, data=np.ascontiguousarray(self.data[:, :, taken]), taken=taken)

    @property
    def flagged_fraction(self) -> float:
        """Fraction of the cross-correlations that are not used."""
        return 1.0 - np.count_nonzero(self.data) / self.n_samples if self.n_samples else 1.0

    def counts(self) -> NDArray[np.int64]:
        """Return the number of usable visibilities of each antenna and hand, (n_antennas, n_hands)."""
        by_baseline = np.count_nonzero(self.data, axis=(1, 2))
        counts = np.zeros((len(self.info.antenna_names), self.data.shape[-1]), dtype=np.int64)
        np.add.at(counts, self.first, by_baseline)
        np.add.at(counts, self.second, by_baseline)
        return counts


def load_cube(info: MeasurementSetInfo, progress: Callable[[float, str], None], *, smeared: bool = True) -> TileCube:
    """Read the parallel hands of the cross-correlations of a Measurement Set; it is not written to."""
    n_antennas, hands = len(info.antenna_names), np.array(info.parallel_hands)
    rows_of = _baselines(info)
    pairs = np.flatnonzero(rows_of >= 0)
    shape = (len(pairs), len(info.times_mjd), len(info.freqs_hz), len(hands))
    data = np.zeros(shape, dtype=np.complex64)
    uvw_m = np.zeros((*shape[:2], 3))
    for rows in measurement_set.iter_rows(info, rows_per_chunk=_ROWS_PER_CHUNK):
        baseline = np.where(rows.cross, rows_of[rows.antenna1 * n_antennas + rows.antenna2], -1)
        values, times = rows.columns["DATA"], rows.time_index
        in_parts(cube_kernels.store, len(baseline), values, rows.flag, hands, baseline, times, data)
        cross = baseline >= 0
        uvw_m[baseline[cross], rows.time_index[cross]] = rows.uvw_m[cross]
        progress(rows.start / info.n_rows, f"reading {info.path.name}, row {rows.start} of {info.n_rows}")
    first, second = pairs // n_antennas, pairs % n_antennas
    cube = TileCube(
        info=info,
        data=data,
        first=first,
        second=second,
        uvw_m=uvw_m,
        levels=np.full((n_antennas, len(hands)), np.nan),
        n_samples=int(np.prod(shape)),
        smeared=smeared,
    )
    progress(1.0, "measuring the level of each antenna")
    _take_out_levels(cube)
    return cube


def _baselines(info: MeasurementSetInfo) -> NDArray[np.int64]:
    """Return the number of each pair antenna1 * n_antennas + antenna2 among the pairs with rows, -1 for the others."""
    n_antennas = len(info.antenna_names)
    seen = np.zeros(n_antennas * n_antennas, dtype=bool)
    with measurement_set.open_table(info.path) as main:
        first, second = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
    seen[(first * n_antennas + second)[first != second]] = True
    numbers = np.full(len(seen), -1, dtype=np.int64)
    numbers[seen] = np.arange(np.count_nonzero(seen))
    return numbers


def _take_out_levels(cube: TileCube) -> None:
    """Divide by the antennas' levels, so that noise is alike on all baselines, and drop wild values."""
    samples = cube.data.shape[1] * cube.data.shape[2]
    medians = np.full((len(cube.first), cube.data.shape[-1]), np.nan)
    in_parts(cube_kernels.median_log_amplitudes, len(medians), cube.data, max(1, samples // _LEVEL_SAMPLES), medians)
    logs = np.stack([_antenna_logs(medians[:, p], cube) for p in range(medians.shape[1])], axis=1)
    cube.levels = np.exp(logs)
    with np.errstate(invalid="ignore"):
        factors = np.nan_to_num(np.exp(-logs[cube.first] - logs[cube.second])).astype(np.float32)
    dropped = np.zeros(len(factors), dtype=np.int64)
    in_parts(cube_kernels.scale, len(factors), cube.data, factors, WILD_FACTOR, dropped)
    cube.flagged["wild"] = int(dropped.sum())


def _antenna_logs(medians: NDArray[np.float64], cube: TileCube) -> NDArray[np.float64]:
    """Return log levels (n_antennas) with log|V_ij| about level_i + level_j; NaN for antennas without data."""
    n_antennas = len(cube.info.antenna_names)
    matrix = np.full((n_antennas, n_antennas), np.nan)
    matrix[cube.first, cube.second] = matrix[cube.second, cube.first] = medians
    known = np.isfinite(matrix).any(axis=1)
    levels = np.full(n_antennas, np.nan)
    if not known.any():
        return levels
    levels[known] = np.nanmedian(matrix) / 2
    # the first rounds are biased where an antenna's partners are themselves unusual
    for _ in range(4):
        levels[known] = np.nanmedian(matrix[known] - levels[None, :], axis=1)
    return levels


def flag_interference(cube: TileCube) -> int:
    """Zero (time, channel, hand) cells whose level over all baselines stands out in frequency or in time.

    Sources are not taken for interference: their mean over many baselines changes slowly with both.
    """
    total, count = np.zeros(cube.data.shape[1:]), np.zeros(cube.data.shape[1:], dtype=np.int64)
    in_parts(cube_kernels.cell_levels, len(total), cube.data, total, count)
    level = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    bad = stands_out(level, cube.info.freqs_hz)
    return zero_cells(cube, bad, "interference")


def zero_cells(cube: TileCube, bad: NDArray[np.bool_], kind: str) -> int:
    """Zero (time, channel, hand) cells on all baselines; return how many visibilities that were."""
    dropped = np.zeros(len(cube.first), dtype=np.int64)
    if bad.any():
        in_parts(cube_kernels.zero_cells, len(dropped), cube.data, bad, dropped)
    number = int(dropped.sum())
    cube.flagged[kind] = cube.flagged.get(kind, 0) + number
    return number


def stands_out(level: NDArray[np.float64], freqs_hz: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which cells of log amplitudes (n_times, n_channels, n_hands), NaN without data, differ from the others.

    A cell is compared with the median of its channel over time, and with the running median over channels.
    """
    known = np.isfinite(level)
    filled = np.where(known, level, np.median(level[known]) if known.any() else 0.0)
    bad = np.zeros(level.shape, dtype=bool)
    if level.shape[0] >= 3:
        over_time = np.median(filled, axis=0, keepdims=True)
        bad |= _beyond(filled - over_time, known)
    spectrum = np.median(filled, axis=0)
    smooth = spectrum.copy()
    for part in segments(freqs_hz, per_subband=False):
        size = min(NEIGHBOURS, part.stop - part.start)
        smooth[part] = median_filter(spectrum[part], size=(size, 1), mode="nearest")
    bad |= _beyond(spectrum - smooth, np.asarray(known.any(axis=0)))[None]
    return bad & known


def _beyond(difference: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what differs by more than `CELL_SIGMA` times the scatter of what is known."""
    seen = difference[known]
    scatter = 1.4826 * float(np.median(np.abs(seen - np.median(seen)))) if seen.size else 0.0
    return np.abs(difference) > max(MIN_CELL_EXCESS, CELL_SIGMA * scatter)


def segments(freqs_hz: NDArray[np.float64], *, per_subband: bool = True) -> list[slice]:
    """Return runs of evenly spaced channels, cut at the correlator's subbands where the channels are on its grid."""
    if len(freqs_hz) < 2:
        return [slice(0, len(freqs_hz))]
    width_hz = float(np.median(np.diff(freqs_hz)))
    cuts = {0, len(freqs_hz), *(1 + np.flatnonzero(np.abs(np.diff(freqs_hz) / width_hz - 1) > 0.1)).tolist()}
    if per_subband:
        subband_hz = telescope.CHANNELS_PER_SUBBAND * telescope.CHANNEL_WIDTH_HZ
        bottom_hz = telescope.subband_freqs_hz(telescope.N_SUBBANDS - 1)[-1] - telescope.CHANNEL_WIDTH_HZ / 2
        inside = 0 <= freqs_hz[0] - bottom_hz < telescope.N_SUBBANDS * subband_hz
        numbers = np.floor((freqs_hz - bottom_hz) / subband_hz)
        if inside:
            cuts |= set((1 + np.flatnonzero(np.diff(numbers) > 0)).tolist())
    return [slice(start, stop) for start, stop in pairwise(sorted(cuts))]
