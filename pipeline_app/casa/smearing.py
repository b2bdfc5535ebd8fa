"""Smearing: what averaging over a channel and over an integration takes from sources away from the phase centre.

Within a channel of width B the fringe of a source turns by (delay x B), within an integration of length T by
(frequency x delay rate x T). A flat average of a turning fringe is a sinc. What an image loses at a direction is the
mean of the product over all visibilities, with the weights of the image: the longest baselines lose many times more.
See Bridle & Schwab, "Bandwidth and time-average smearing", in Synthesis Imaging in Radio Astronomy II (1999).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_app import telescope
from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo

EARTH_ROTATION_RAD_PER_SEC = 7.292115e-5
"""Nominal mean angular velocity (IERS Conventions 2010, table 1.1)."""
IMAGE_ROBUST = 0.5
IMAGE_FIELD_DEG = 3.5
"""The weighting for which averaging is chosen: Briggs' at the imaging stage's usual robustness and field."""
MAX_ROWS = 4000
MAX_SMEARING_FREQS = 8
MAX_DENSITY_FREQS = 48
"""Samples in frequency and rows that stand for all; the mean over them is right to a few per cent of itself."""
_POSITION_ANGLES = 8


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The visibilities, or a fair sample of them, whose mean smearing is wanted."""

    uvw_m: NDArray[np.float64]
    """(n_rows, 3); of either sign convention."""
    freqs_hz: NDArray[np.float64]
    """(n_freqs,)."""
    weights: NDArray[np.floating]
    """(n_rows, n_freqs), as the image weights the samples; any scale."""
    integration_sec: float
    declination_deg: float
    """Of the phase centre."""
    tracked_lm: NDArray[np.float64] | None = None
    """(n_rows, 2): direction cosines, from the phase centre, of where fringes were stopped within the row's
    integration; None: the phase centre. The DSA-110 stops them on its beam, which drifts over the sky."""


def mean_smearing(
    l: ArrayLike,  # noqa: E741 - the direction cosine's usual name
    m: ArrayLike,
    sampling: Sampling,
    *,
    channel_width_hz: float,
) -> NDArray[np.float64]:
    """Return the fraction of a point source's brightness lost to channel width and integration time.

    Args:
        l: direction cosines towards the east from the phase centre, any shape.
        m: towards the north, same shape.
        sampling: baselines, frequencies and weights over which the mean is taken.
        channel_width_hz: full width of the channels as they are imaged, averaged ones included; 0 leaves out the band,
            as an integration time of 0 leaves out time.

    Returns:
        The mean loss, in the shape of `l`: 0 at the phase centre, at most about 1. A brightness measured in an image is
        too low by the factor (1 - loss), so an image's response is to be multiplied by (1 - loss).
    """
    l, m = np.broadcast_arrays(np.asarray(l, dtype=float), np.asarray(m, dtype=float))  # noqa: E741
    total = float(sampling.weights.sum(dtype=float))
    rates_m_per_sec = uvw_rates(sampling.uvw_m, sampling.declination_deg)
    tracked = np.zeros((1, 3)) if sampling.tracked_lm is None else _lmn(sampling.tracked_lm)
    tracked_rate = np.einsum("rx,rx->r", rates_m_per_sec, np.broadcast_to(tracked, rates_m_per_sec.shape))
    loss = np.empty(l.size)
    for index, direction in enumerate(_lmn(np.stack([l.ravel(), m.ravel()], axis=-1))):
        band = np.sinc(sampling.uvw_m @ direction * (channel_width_hz / telescope.SPEED_OF_LIGHT_M_S))
        turns_per_hz = (rates_m_per_sec @ direction - tracked_rate) * (
            sampling.integration_sec / telescope.SPEED_OF_LIGHT_M_S
        )
        kept = band[:, None] * np.sinc(turns_per_hz[:, None] * sampling.freqs_hz)
        loss[index] = 1.0 - float(np.sum(kept * sampling.weights)) / total
    return loss.reshape(l.shape)


def _lmn(lm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (l, m, n - 1), shape (..., 3)."""
    n = np.sqrt(np.maximum(1.0 - np.sum(lm**2, axis=-1), 0.0))
    return np.concatenate([lm, (n - 1.0)[..., None]], axis=-1)


def uvw_rates(uvw_m: NDArray[np.float64], declination_deg: float) -> NDArray[np.float64]:
    """Return d(uvw)/dt in m/s, (n_rows, 3): baselines turn about the pole.

    Thompson, Moran & Swenson, eq. 4.1, differentiated.
    """
    u, v, w = uvw_m.T
    sine, cosine = np.sin(np.radians(declination_deg)), np.cos(np.radians(declination_deg))
    return EARTH_ROTATION_RAD_PER_SEC * np.stack([w * cosine - v * sine, u * sine, -u * cosine], axis=-1)


def half_power_smearing(sampling: Sampling, *, channel_width_hz: float, radius_deg: float) -> float:
    """Return the mean loss on a circle about the phase centre, such as that of half the primary beam's power."""
    angles = 2 * np.pi * np.arange(_POSITION_ANGLES) / _POSITION_ANGLES
    sine = np.sin(np.radians(radius_deg))
    loss = mean_smearing(sine * np.sin(angles), sine * np.cos(angles), sampling, channel_width_hz=channel_width_hz)
    return float(loss.mean())


def sample_as_imaged(
    uvw_m: NDArray[np.float64],
    freqs_hz: NDArray[np.float64],
    *,
    integration_sec: float,
    declination_deg: float,
) -> Sampling:
    """Return a sample of these baselines (n_rows, 3) and frequencies with Briggs weights, all data counting alike."""
    dense = freqs_hz[_spread(len(freqs_hz), MAX_DENSITY_FREQS)]
    few = freqs_hz[_spread(len(freqs_hz), MAX_SMEARING_FREQS)]
    rows = uvw_m[_spread(len(uvw_m), MAX_ROWS)]
    cells_per_wavelength = np.radians(IMAGE_FIELD_DEG)
    scale = cells_per_wavelength / telescope.SPEED_OF_LIGHT_M_S
    half = int(np.ceil(np.abs(uvw_m[:, :2]).max() * freqs_hz.max() * scale)) + 1
    side = 2 * half + 1
    counts = np.zeros(side * side)
    for freq_hz in dense:
        counts += np.bincount(_cells(uvw_m, freq_hz * scale, half), minlength=side * side)
    counts += counts[::-1]  # a visibility is also that of the opposite baseline
    factor = (5.0 * 10.0**-IMAGE_ROBUST) ** 2 * counts.sum() / np.sum(counts**2)
    weights = np.stack([1.0 / (1.0 + factor * counts[_cells(rows, freq * scale, half)]) for freq in few], axis=-1)
    return Sampling(
        uvw_m=rows,
        freqs_hz=few,
        weights=weights,
        integration_sec=integration_sec,
        declination_deg=declination_deg,
    )


def _spread(count: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _cells(uvw_m: NDArray[np.float64], scale_per_m: float, half: int) -> NDArray[np.intp]:
    cell = np.rint(uvw_m[:, :2] * scale_per_m).astype(np.intp) + half
    return cell[:, 0] * (2 * half + 1) + cell[:, 1]


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """How many channels become one, and what that costs at the half-power radius."""

    channels: int
    band_loss: float
    """Mean loss to the width of the averaged channels."""
    total_loss: float
    """The same with the loss to the integration time."""


def choose_averaging(
    sampling: Sampling,
    freqs_hz: NDArray[np.float64],
    *,
    channel_width_hz: float,
    group: int,
    max_smearing: float,
    beam_freq_factor: float = 1.0,
) -> Averaging:
    """Return the largest averaging whose mean loss to bandwidth at the half-power radius is within `max_smearing`.

    It divides `group`, the channels that belong together (those of a subband, or all), and never spans a gap of the
    frequency axis. A single channel is always allowed. The loss to integration time cannot be chosen and so does not
    count against the limit. `beam_freq_factor` is that of `MeasurementSetInfo`.
    """
    radius_deg = telescope.beam_fwhm_deg(float(freqs_hz.mean()) * beam_freq_factor) / 2
    at_once = replace(sampling, integration_sec=0.0)
    best, best_loss = 1, half_power_smearing(at_once, channel_width_hz=channel_width_hz, radius_deg=radius_deg)
    for count in range(2, group + 1):
        if group % count or len(freqs_hz) % count or _spans_gap(freqs_hz, count, channel_width_hz):
            continue
        loss = half_power_smearing(at_once, channel_width_hz=count * channel_width_hz, radius_deg=radius_deg)
        if loss > max_smearing:
            break
        best, best_loss = count, loss
    total = half_power_smearing(sampling, channel_width_hz=best * channel_width_hz, radius_deg=radius_deg)
    return Averaging(channels=best, band_loss=best_loss, total_loss=total)


def _spans_gap(freqs_hz: NDArray[np.float64], count: int, channel_width_hz: float) -> bool:
    groups = np.sort(freqs_hz).reshape(-1, count)
    return bool(np.any(np.diff(groups, axis=1) > 1.5 * channel_width_hz))


def channels_to_average(info: MeasurementSetInfo, *, max_smearing: float) -> Averaging:
    """Choose the averaging of a Measurement Set (see `choose_averaging`)."""
    uvw_m = np.concatenate([rows.uvw_m[rows.cross] for rows in measurement_set.iter_rows(info, ())])
    sampling = sample_as_imaged(
        uvw_m, info.freqs_hz, integration_sec=info.integration_sec, declination_deg=info.phase_dec_deg
    )
    return choose_averaging(
        sampling,
        info.freqs_hz,
        channel_width_hz=info.channel_width_hz,
        group=len(info.freqs_hz),
        max_smearing=max_smearing,
        beam_freq_factor=info.beam_freq_factor,
    )
