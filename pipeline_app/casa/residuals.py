"""Corrected data against the model: how well a solution explains the data, and which data it cannot explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo, Rows
from pipeline_app.casa.model import PointSource, predict
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.solutions import Solutions

RESIDUAL_SIGMA = 8.0
"""Noise alone never reaches this; faint sources outside the model widen the measured scatter and so stay below it."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Corrected over model data; None when nothing could be compared."""

    phase_rms_deg: float | None = None
    amplitude_ratio: float | None = None


def measure_agreement(
    sources: Sequence[PointSource], info: MeasurementSetInfo, track: BeamTrack, solutions: Solutions
) -> Agreement:
    """Average corrected times conj(model) over the channels and times of each baseline and polarisation."""
    n_antennas, hands = len(info.antenna_names), info.parallel_hands
    cross = np.zeros((n_antennas * n_antennas, len(hands)), dtype=complex)
    norm = np.zeros(cross.shape)
    for rows in measurement_set.iter_rows(info):
        corrected, bad = solutions.corrected(rows, info)
        model = predict(sources, info, track, rows)[..., None]
        baseline = rows.antenna1 * n_antennas + rows.antenna2
        np.add.at(cross, baseline, np.where(bad, 0, corrected * model.conj()).sum(axis=1))
        np.add.at(norm, baseline, np.where(bad, 0, np.abs(model) ** 2).sum(axis=1))
    used = norm > 0
    if not used.any():
        return Agreement()
    phases = np.angle(cross[used])
    return Agreement(
        phase_rms_deg=float(np.degrees(np.sqrt(np.mean(phases**2)))),
        amplitude_ratio=float(cross[used].real.sum() / norm[used].sum()),
    )


def flag_residuals(
    sources: Sequence[PointSource], info: MeasurementSetInfo, track: BeamTrack, solutions: Solutions
) -> int:
    """Flag visibilities far from the model in FLAG of a private copy; return how many."""
    hands = info.parallel_hands
    medians = [_nanmedian(_distance(sources, info, track, solutions, rows)) for rows in measurement_set.iter_rows(info)]
    # |noise| of two equal components has its median at 1.1774 sigma
    sigma = np.nanmedian(np.stack(medians), axis=0) / 1.1774
    flagged = 0
    for rows in measurement_set.iter_rows(info):
        with np.errstate(invalid="ignore"):
            outlier = _distance(sources, info, track, solutions, rows) > RESIDUAL_SIGMA * sigma
        if outlier.any():
            flagged += int(outlier.sum())
            rows.flag[..., hands] |= outlier
            measurement_set.put_column(info.path, "FLAG", rows.start, rows.flag)
    return flagged


def _distance(
    sources: Sequence[PointSource], info: MeasurementSetInfo, track: BeamTrack, solutions: Solutions, rows: Rows
) -> NDArray[np.float64]:
    corrected, bad = solutions.corrected(rows, info)
    model = predict(sources, info, track, rows)[..., None]
    return np.where(bad, np.nan, np.abs(corrected - model))


def _nanmedian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over rows, shape (n_channels, n_pols), zero where everything is flagged."""
    empty = np.all(np.isnan(values), axis=0)
    return np.where(empty, np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=0))
