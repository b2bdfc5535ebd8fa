"""Weights from the data's own scatter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo, open_table

MIN_SAMPLES = 8
"""A baseline with fewer unflagged samples does not take part in the estimate."""


def antenna_noise_jy(info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Return s (n_antennas) such that the noise of one correlation of baseline (i, j) is sqrt(s_i s_j), in Jy.

    The difference of the two parallel hands holds no unpolarised sky, wherever the sources are, so its median absolute
    value is noise (per component sigma sqrt(2), median of the modulus 1.1774 of that). With one hand only, sky and
    noise cannot be told apart, and the scatter includes the sky. Antennas without data get the median.
    """
    n_antennas = len(info.antenna_names)
    sums, counts = np.zeros((n_antennas, n_antennas)), np.zeros((n_antennas, n_antennas))
    for rows in measurement_set.iter_rows(info):
        values = _difference(rows.columns["DATA"], rows.flag, info)
        values[~rows.cross] = np.nan
        good = np.isfinite(values).sum(axis=1)
        used = good >= MIN_SAMPLES
        medians = np.nanmedian(values[used], axis=1)
        np.add.at(sums, (rows.antenna1[used], rows.antenna2[used]), medians * good[used])
        np.add.at(counts, (rows.antenna1[used], rows.antenna2[used]), good[used])
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


def _difference(data: NDArray[np.complex64], flag: NDArray[np.bool_], info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Return per (row, channel) a sample of the noise of one hand, NaN where flagged."""
    hands = info.parallel_hands
    if len(hands) < 2:
        return np.where(flag[..., hands[0]], np.nan, np.abs(data[..., hands[0]])) / 1.1774
    first, last = hands[0], hands[-1]
    unusable = flag[..., first] | flag[..., last]
    return np.where(unusable, np.nan, np.abs(data[..., first] - data[..., last])) / (np.sqrt(2.0) * 1.1774)


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


def median_noise_jy(path: Path) -> float:
    """Return the median SIGMA of a Measurement Set whose weights were written."""
    with open_table(path) as main:
        return float(np.median(main.getcol("SIGMA")))
