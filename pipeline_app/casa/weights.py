"""Weights from the data's own scatter."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo, Rows, open_table

MIN_SAMPLES = 8
"""A baseline with fewer unflagged samples does not take part in the estimate."""
MAX_ORDER = 3
"""Of the differences: a source half a degree out turns by half a radian in an integration on the longest baselines."""
CHUNK_DIFFERENCES = 2
"""Rows are read in runs that hold this many times the integrations of one difference."""
MEDIAN_OF_MODULUS = math.sqrt(2.0 * math.log(2.0))
"""Of complex noise, over the standard deviation of one of its parts (Rayleigh distribution)."""


def antenna_noise_jy(info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Return s (n_antennas) such that the noise of one correlation of baseline (i, j) is sqrt(s_i s_j), in Jy.

    Third differences along time hold next to no sky, which turns slowly, and no errors of the calibration, which stay.
    The median of their moduli is noise (see `_differences`). With fewer than four integrations the order of the
    difference is less and some sky is left; with one alone, the scatter includes all of it. Antennas without data get
    the median.
    """
    n_antennas, n_times = len(info.antenna_names), len(info.times_mjd)
    order = min(MAX_ORDER, n_times - 1)
    sums, counts = np.zeros((n_antennas, n_antennas)), np.zeros((n_antennas, n_antennas))
    per_chunk = CHUNK_DIFFERENCES * (order + 1) * math.ceil(info.n_rows / n_times)
    for rows in measurement_set.iter_rows(info, rows_per_chunk=per_chunk):
        first, second, values = _differences(rows, info, order)
        good = np.isfinite(values).sum(axis=1)
        used = good >= MIN_SAMPLES
        medians = np.nanmedian(values[used], axis=1)
        np.add.at(sums, (first[used], second[used]), medians * good[used])
        np.add.at(counts, (first[used], second[used]), good[used])
    sums, counts = sums + sums.T, counts + counts.T
    return _factorise(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0))


def write_weights(info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Set WEIGHT to 1/Jy² and SIGMA to Jy from the antennas' noise; return that noise (see `antenna_noise_jy`)."""
    noise = antenna_noise_jy(info)
    with open_table(info.path, write=True) as main:
        first, second = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        sigma = np.sqrt(noise[first] * noise[second])
        sigma = np.repeat(sigma[:, None], len(info.correlations), axis=1).astype(np.float32)
        main.putcol("SIGMA", sigma)
        main.putcol("WEIGHT", 1.0 / sigma**2)
        for column in ("WEIGHT_SPECTRUM", "SIGMA_SPECTRUM"):
            if column in main.colnames():
                main.removecols(column)
    return noise


def _differences(
    rows: Rows, info: MeasurementSetInfo, order: int
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float64]]:
    """Return antennas 1 and 2 (n,) and moduli (n, n_channels * n_hands) of differences of successive integrations.

    They are scaled so that their median is the noise of one part of one visibility, Jy; NaN where one is flagged.
    """
    place = np.lexsort((rows.time_index, rows.antenna2, rows.antenna1))
    place = place[rows.cross[place]]
    first, second, times = rows.antenna1[place], rows.antenna2[place], rows.time_index[place]
    n = max(len(place) - order, 0)
    start = np.flatnonzero(
        (first[:n] == first[order:]) & (second[:n] == second[order:]) & (times[:n] + order == times[order:])
    )
    hands = info.parallel_hands
    data = np.where(rows.flag[..., hands], np.nan, rows.columns["DATA"][..., hands])
    factors = [(-1) ** k * math.comb(order, k) for k in range(order + 1)]
    total = sum(factor * data[place[start + k]] for k, factor in enumerate(factors))
    scale = MEDIAN_OF_MODULUS * math.sqrt(sum(factor**2 for factor in factors))
    return first[start], second[start], np.abs(total).reshape(len(start), data[0].size) / scale


def _factorise(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return s with sigma_ij about sqrt(s_i s_j), by least squares in the logarithm."""
    logs = np.where(sigma > 0, np.log(np.where(sigma > 0, sigma, 1.0)), np.nan)
    upper = np.triu(np.isfinite(logs), 1)
    first, second = np.nonzero(upper)
    n_antennas = len(sigma)
    if len(first) == 0:
        return np.ones(n_antennas)
    design = np.zeros((len(first), n_antennas))
    design[np.arange(len(first)), first] = 0.5
    design[np.arange(len(first)), second] += 0.5
    solution = np.linalg.lstsq(design, logs[upper], rcond=None)[0]
    present = np.isin(np.arange(n_antennas), np.concatenate([first, second]))
    solution[~present] = np.median(solution[present])
    return np.exp(solution)
