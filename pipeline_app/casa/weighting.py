"""Briggs weights recomputed from the uv coverage: what tclean will weigh, before it runs.

From them follow the thermal noise to expect, the size of the beam, and how much each time and channel counts, which is
how the primary beam must be averaged. D. Briggs' robust weighting as CASA defines it: w / (1 + W_k f²) with W_k the
summed weight of the uv cell, f² = (5·10^-R)² Σw / ΣW_k².
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from tasks_app.handler import InvalidInput

MAX_GRID = 4096


@dataclass(frozen=True, kw_only=True)
class ImagingWeights:
    """What the weights of one Measurement Set, field size and robustness amount to."""

    by_time_and_freq: NDArray[np.float64]
    """(n_times, n_channels), sums to 1."""
    thermal_rms_jy: float
    """Of a Stokes I image, from the data's own weights (1/Jy²)."""
    beam_arcsec: float
    """Full width at half maximum of a Gaussian as curved at its peak as the point spread function (geometric mean)."""
    max_uv_wavelengths: float
    max_w_wavelengths: float
    flagged_fraction: float

    def effective_freq_hz(self, freqs_hz: NDArray[np.float64]) -> float:
        """Return the weighted mean frequency."""
        return float(self.by_time_and_freq.sum(axis=0) @ freqs_hz)


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Stokes I samples of some rows: (n_rows, n_channels)."""

    time_index: NDArray[np.intp]
    uv_wavelengths: NDArray[np.float64]
    """(2, n_rows, n_channels)."""
    weight: NDArray[np.float64]
    """Mean of the hands', zero where any hand is flagged."""
    w_wavelengths: NDArray[np.float64]


def imaging_weights(info: MeasurementSetInfo, *, robust: float, field_rad: float) -> ImagingWeights:
    """Compute the weights that a field of this size gets.

    Raises:
        InvalidInput: all data are flagged.
    """
    uv_max = _longest_uv(info)
    half = min(int(np.ceil(uv_max * field_rad)) + 1, MAX_GRID // 2)
    cells = np.zeros((2 * half + 1, 2 * half + 1))
    for chunk in _chunks(info):
        for sign in (1, -1):
            np.add.at(cells, _cell(sign * chunk.uv_wavelengths, field_rad, half), chunk.weight)
    if not cells.any():
        raise InvalidInput("all data are flagged")
    factor = (5.0 * 10.0**-robust) ** 2 * cells.sum() / np.sum(cells**2)
    return _summarise(info, cells, factor, field_rad, half)


def _summarise(
    info: MeasurementSetInfo, cells: NDArray[np.float64], factor: float, field_rad: float, half: int
) -> ImagingWeights:
    by_time_and_freq = np.zeros((len(info.times_mjd), len(info.freqs_hz)))
    variance, uv_longest, w_longest, good, total = 0.0, 0.0, 0.0, 0, 0
    second_moment = np.zeros((2, 2))
    for chunk in _chunks(info):
        density = cells[_cell(chunk.uv_wavelengths, field_rad, half)]
        weight = chunk.weight / (1.0 + density * factor)
        np.add.at(by_time_and_freq, chunk.time_index, weight)
        used = weight > 0
        # the mean of two hands has half the variance of one
        variance += float(np.sum(weight[used] ** 2 / (2.0 * chunk.weight[used])))
        second_moment += np.einsum("irf,jrf,rf->ij", chunk.uv_wavelengths, chunk.uv_wavelengths, weight)
        uv_longest = max(uv_longest, float(np.hypot(*chunk.uv_wavelengths)[used].max(initial=0.0)))
        w_longest = max(w_longest, float(np.abs(chunk.w_wavelengths)[used].max(initial=0.0)))
        good, total = good + int(used.sum()), total + used.size
    sum_of_weights = by_time_and_freq.sum()
    spread = np.linalg.eigvalsh(second_moment / sum_of_weights)
    # a Gaussian beam exp(-4 ln2 x²/F²) has the curvature of a uv distribution of variance 2 ln2/(pi F)²
    widths_rad = np.sqrt(2.0 * np.log(2.0) / np.maximum(spread, 1e-6)) / np.pi
    return ImagingWeights(
        by_time_and_freq=by_time_and_freq / sum_of_weights,
        thermal_rms_jy=float(np.sqrt(variance) / sum_of_weights),
        beam_arcsec=float(np.degrees(np.sqrt(widths_rad.prod())) * 3600.0),
        max_uv_wavelengths=uv_longest,
        max_w_wavelengths=w_longest,
        flagged_fraction=1.0 - good / total,
    )


def _chunks(info: MeasurementSetInfo) -> Iterator[_Chunk]:
    hands = info.parallel_hands
    per_metre = info.freqs_hz / telescope.SPEED_OF_LIGHT_M_S
    for rows in measurement_set.iter_rows(info, ("WEIGHT",)):
        good = ~rows.flag[..., hands].any(axis=-1) & rows.cross[:, None]
        weight = rows.columns["WEIGHT"][:, hands].mean(axis=1)[:, None] * good
        wavelengths = rows.uvw_m.T[:, :, None] * per_metre
        yield _Chunk(
            time_index=rows.time_index, uv_wavelengths=wavelengths[:2], weight=weight, w_wavelengths=wavelengths[2]
        )


def _longest_uv(info: MeasurementSetInfo) -> float:
    longest_m = max(float(np.hypot(*rows.uvw_m.T[:2]).max()) for rows in measurement_set.iter_rows(info, ()))
    return longest_m * float(info.freqs_hz.max()) / telescope.SPEED_OF_LIGHT_M_S


def _cell(
    uv_wavelengths: NDArray[np.float64], field_rad: float, half: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return grid indices; what lies beyond the grid counts in its rim."""
    index = np.clip(np.rint(uv_wavelengths * field_rad).astype(np.intp), -half, half) + half
    return index[0], index[1]
