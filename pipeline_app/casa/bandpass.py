"""Gains smoothed over the channels of a subband, and divided into delay, bandpass and gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import gain_kernels
from pipeline_app.casa.threads import in_parts

Gains = NDArray[np.complex128]
"""(n_antennas, n_hands, n_channels), zero where there is no solution."""
Weights = NDArray[np.float64]
"""Of the same shape: inverse variances of one component, zero where there is no solution."""

HALF_WIDTHS = (0, 2, 4, 8, 16, 32)
"""Channels to each side that a local fit may reach; which of them fits best is found from the data."""
OUTLIER_SIGMA = 5.0
MIN_COVERAGE = 0.3
"""Of the weight that a complete window has; with less a channel without a solution stays without."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """gains = bandpass * gain * exp(2 pi i delay (freq - reference))."""

    delays_sec: NDArray[np.float64]
    """(n_antennas, n_hands)."""
    gain: NDArray[np.complex128]
    """(n_antennas, n_hands)."""
    bandpass: NDArray[np.complex128]
    """(n_antennas, n_hands, n_channels); 1 where there is no solution."""


def find_delays(gains: Gains, weights: Weights, freqs_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the delays in seconds, (n_antennas, n_hands), that make the phases of each antenna most coherent."""
    if len(freqs_hz) < 3:
        return np.zeros(gains.shape[:2])
    width_hz = float(np.median(np.diff(freqs_hz)))
    channel = np.round((freqs_hz - freqs_hz[0]) / width_hz).astype(int)
    size = 8 * 2 ** int(np.ceil(np.log2(channel[-1] + 1)))
    padded = np.zeros((*gains.shape[:2], size), dtype=complex)
    padded[..., channel] = np.where(weights > 0, gains, 0)
    spectrum = np.abs(np.fft.fft(padded, axis=-1))
    peak = spectrum.argmax(axis=-1)
    left, centre, right = (
        np.take_along_axis(spectrum, (peak + k)[..., None] % size, axis=-1)[..., 0] for k in (-1, 0, 1)
    )
    curvature = left - 2 * centre + right
    offset = np.where(curvature < 0, 0.5 * (left - right) / np.where(curvature < 0, curvature, 1.0), 0.0)
    turns = (peak + offset) / size
    return np.where(turns > 0.5, turns - 1, turns) / width_hz


def slopes(delays_sec: NDArray[np.float64], freqs_hz: NDArray[np.float64], reference_hz: float) -> Gains:
    """Return the unit gains of delays, (n_antennas, n_hands, n_channels)."""
    return np.exp(2j * np.pi * delays_sec[..., None] * (freqs_hz - reference_hz))


def smooth(
    gains: Gains, weights: Weights, parts: Sequence[slice], half_widths: NDArray[np.int64]
) -> tuple[Gains, Weights]:
    """Fit a local quadratic around every channel, within its part of the band; delays must have been taken out.

    Channels without a solution are filled where enough neighbours have one. `half_widths` (n_antennas, n_hands) is 0
    where nothing is to be smoothed. Returns gains and the inverse variances of the fits (zero: none).
    """
    n_channels = gains.shape[-1]
    starts, stops = np.zeros(n_channels, dtype=np.int64), np.zeros(n_channels, dtype=np.int64)
    for part in parts:
        starts[part], stops[part] = part.start, part.stop
    series, series_weights = (np.ascontiguousarray(a.reshape(-1, n_channels)) for a in (gains, weights))
    out, out_weights = np.zeros(series.shape, dtype=complex), np.zeros(series.shape)
    widths = np.ascontiguousarray(half_widths.reshape(-1).astype(np.int64))
    in_parts(
        gain_kernels.local_quadratics,
        len(series),
        series,
        series_weights,
        starts,
        stops,
        widths,
        MIN_COVERAGE,
        out,
        out_weights,
    )
    return out.reshape(gains.shape), out_weights.reshape(gains.shape)


def smooth_robustly(
    gains: Gains, weights: Weights, parts: Sequence[slice], half_widths: NDArray[np.int64]
) -> tuple[Gains, Weights]:
    """Smooth every (antenna, hand) by its own half width, and once more without the channels that the first misses."""
    first, _ = smooth(gains, weights, parts, half_widths)
    sigma = np.abs(gains - first) * np.sqrt(weights)
    used = (weights > 0) & (first != 0) & (half_widths[..., None] > 0)
    # |noise| of two equal components has its median at 1.1774 sigma
    typical = float(np.median(sigma[used])) / 1.1774 if used.any() else 1.0
    outlier = used & (sigma > OUTLIER_SIGMA * max(typical, 1e-12))
    return smooth(gains, np.where(outlier, 0.0, weights), parts, half_widths)


def choose_half_widths(
    halves: Sequence[Gains], weights: Sequence[Weights], parts: Sequence[slice]
) -> NDArray[np.int64]:
    """Return for each (antenna, hand) the half width whose smoothing of one half of the data best predicts the other.

    With noise alone the widest wins; structure that a wide window would flatten shows as a difference between halves.
    """
    longest = max(part.stop - part.start for part in parts)
    candidates = [width for width in HALF_WIDTHS if width == 0 or (width < 2 * longest and longest > 2)]
    losses = []
    for width in candidates:
        loss = np.zeros(halves[0].shape[:2])
        for one, other in ((0, 1), (1, 0)):
            widths = np.full(loss.shape, width)
            smoothed, known = smooth(halves[one], weights[one], parts, widths)
            both = (known > 0) & (weights[one] > 0) & (weights[other] > 0)
            loss += np.where(both, weights[other] * np.abs(smoothed - halves[other]) ** 2, 0).sum(axis=-1)
        losses.append(loss)
    return np.array(candidates)[np.argmin(losses, axis=0)]


def divide(gains: Gains, weights: Weights, freqs_hz: NDArray[np.float64], reference_hz: float) -> Parts:
    """Divide total gains into delay, mean gain and bandpass, whose product they are."""
    delays_sec = find_delays(gains, weights, freqs_hz)
    known = (weights > 0) & (gains != 0)
    flat = np.where(known, gains / slopes(delays_sec, freqs_hz, reference_hz), 0)
    number = np.maximum(known.sum(axis=-1), 1)
    amplitude = np.sqrt((np.abs(flat) ** 2).sum(axis=-1) / number)
    gain = np.where(amplitude > 0, amplitude * np.exp(1j * np.angle(flat.sum(axis=-1))), 1.0)
    return Parts(delays_sec=delays_sec, gain=gain, bandpass=np.where(known, flat / gain[..., None], 1.0))
