"""The flags of a calibrated Measurement Set against the interference that was injected.

A function in the form of a stage, because reading a Measurement Set needs casacore: it runs in a child process.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipeline_app.casa import measurement_set
from pipeline_app.simulation.spec import Burst, LostSamples
from pipeline_app.simulation.truth import TileTruth
from pipeline_app.telescope import subband_freqs_hz
from tasks_app.engine.handler import Context


class FlagJudgementParams(BaseModel):
    """A Measurement Set of the `calibrate-target` stage and the truth of its tile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ms_path: str
    truth_dir: str
    truth_name: str


class FlagJudgement(BaseModel):
    """Fractions of the data of baselines that were not flagged as a whole."""

    model_config = ConfigDict(frozen=True)

    injected_fraction: float
    """Of the data that were injected with interference, or were too weak or lost."""
    flagged_of_injected: float | None
    """None when nothing was injected."""
    flagged_of_others: float


def run(params: FlagJudgementParams, context: Context) -> FlagJudgement:
    """Compare what is missing from the weights with what should be missing.

    An averaged channel of which some raw channels were flagged has less weight by their part.
    """
    truth = TileTruth.load(Path(params.truth_dir), params.truth_name)
    info = measurement_set.read_info(params.ms_path)
    injected, per_channel = injected_fractions(truth, info.freqs_hz, n_times=len(info.times_mjd))
    context.progress(0.1, "reading the weights")
    weights = _read_weights(info)[..., per_channel > 0, :]
    injected, per_channel = injected[:, per_channel > 0], per_channel[per_channel > 0]
    clean = injected == 0
    expected = np.median(weights[:, clean], axis=1)
    alive = expected > 0
    caught = wrong = total = others = 0.0
    for time, part in enumerate(injected):
        with np.errstate(invalid="ignore", divide="ignore"):
            missing = 1.0 - (weights[:, time] / expected[:, None]).transpose(1, 0, 2)[:, alive]
        # in whole raw channels: the rest is the weight that a channel has by its own noise
        raw = per_channel[:, None]
        missing, there = np.clip(np.round(missing * raw) / raw, 0.0, 1.0), part[:, None]
        caught += float(np.minimum(missing, there).sum())
        wrong += float(np.maximum(missing - there, 0.0).sum())
        total += float(part.sum() * alive.sum())
        others += float((1.0 - part).sum() * alive.sum())
    return FlagJudgement(
        injected_fraction=total / (total + others),
        flagged_of_injected=caught / total if total else None,
        flagged_of_others=wrong / others,
    )


def injected_fractions(
    truth: TileTruth, freqs_hz: NDArray[np.float64], *, n_times: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the spoiled part of each averaged channel, (n_times, n_averaged), and its number of raw channels."""
    n_channels = len(truth.freqs_hz) // len(truth.files)
    spoiled = np.zeros((n_times, len(truth.freqs_hz)), dtype=bool)
    defects = truth.defects

    def channels_of(subband: int) -> NDArray[np.intp]:
        return np.searchsorted(truth.freqs_hz, subband_freqs_hz(subband, n_channels) - 1.0)

    in_one_cell: tuple[Burst | LostSamples, ...] = (*defects.bursts, *defects.lost)
    for placed in in_one_cell:
        spoiled[placed.time_index, channels_of(placed.subband)] = True
    for carrier in defects.carriers:
        spoiled[:, channels_of(carrier.subband)[carrier.channel]] = True
    for weak in defects.weak:
        spoiled[weak.time_index] = True
    nearest = np.abs(truth.freqs_hz[:, None] - freqs_hz).argmin(axis=1)
    per_channel = np.bincount(nearest, minlength=len(freqs_hz))
    sums = np.stack([np.bincount(nearest, row, minlength=len(freqs_hz)) for row in spoiled])
    return sums / np.maximum(per_channel, 1), per_channel


def _read_weights(info: measurement_set.MeasurementSetInfo) -> NDArray[np.float32]:
    """Return the weights (n_baselines, n_times, n_channels, n_hands) of cross-correlations, 0 where flagged."""
    n_antennas, hands = len(info.antenna_names), info.parallel_hands
    first, second = np.triu_indices(n_antennas, 1)
    baseline = np.full((n_antennas, n_antennas), -1)
    baseline[first, second] = baseline[second, first] = np.arange(len(first))
    found = np.zeros((len(first), len(info.times_mjd), len(info.freqs_hz), len(hands)), dtype=np.float32)
    for rows in measurement_set.iter_rows(info, ("WEIGHT_SPECTRUM",)):
        use = rows.cross
        weight = np.where(rows.flag[use], 0, rows.columns["WEIGHT_SPECTRUM"][use])[..., hands]
        found[baseline[rows.antenna1[use], rows.antenna2[use]], rows.time_index[use]] = weight
    return found
