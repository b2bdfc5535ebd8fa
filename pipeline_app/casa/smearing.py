"""How many channels may be averaged before sources at the edge of the field lose their peak."""

from __future__ import annotations

import math

import numpy as np

from pipeline_app import telescope
from pipeline_app.casa.measurement_set import MeasurementSetInfo


def bandwidth_smearing(*, width_hz: float, offset_deg: float, baseline_m: float) -> float:
    """Return the fraction of a visibility's amplitude lost to averaging over `width_hz`.

    A source at `offset_deg` turns by b sin(offset) width / c over the channel; a flat channel averages that to a sinc.
    """
    turns = baseline_m * math.sin(math.radians(offset_deg)) * width_hz / telescope.SPEED_OF_LIGHT_M_S
    return 1.0 - float(np.sinc(turns))


def longest_baseline_m(info: MeasurementSetInfo) -> float:
    """Return the longest distance between two antennas that have a position."""
    positions = info.antenna_positions_m[np.any(info.antenna_positions_m != 0, axis=1)]
    return float(np.linalg.norm(positions[:, None] - positions[None], axis=2).max())


def channels_to_average(info: MeasurementSetInfo, *, max_smearing: float) -> tuple[int, float]:
    """Return the largest number of channels to average, and the smearing added by it.

    It divides the number of channels, never spans a gap of the frequency axis, and keeps the loss at the half-power
    radius of the primary beam, on the longest baseline, within `max_smearing`. One is always allowed.
    """
    offset_deg = telescope.beam_fwhm_deg(float(info.freqs_hz.mean()) * info.beam_freq_factor) / 2
    baseline_m = longest_baseline_m(info)
    best = (1, 0.0)
    for count in range(2, len(info.freqs_hz) + 1):
        if len(info.freqs_hz) % count or _spans_gap(info, count):
            continue
        loss = bandwidth_smearing(width_hz=count * info.channel_width_hz, offset_deg=offset_deg, baseline_m=baseline_m)
        if loss <= max_smearing:
            best = (count, loss)
    return best


def _spans_gap(info: MeasurementSetInfo, count: int) -> bool:
    groups = np.sort(info.freqs_hz).reshape(-1, count)
    return bool(np.any(np.diff(groups, axis=1) > 1.5 * info.channel_width_hz))
