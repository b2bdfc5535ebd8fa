"""One page of small multiples: amplitude and phase against frequency for every antenna."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pipeline_app.casa.solutions import Solutions

_COLOURS = ("#1f6fb4", "#d1622b")
_CELL_INCHES = (1.5, 2.5)
_WIDTH = 0.94
"""Of a panel, in cells."""
_AMPLITUDE = (0.45, 0.86)
"""Lower and upper edge of the amplitudes' panel in a cell; above it is the name."""
_PHASE = (0.02, 0.43)


def plot_solutions(solutions: Solutions, path: Path, *, title: str) -> None:
    """Draw the total gains as a PNG: for each antenna amplitude above phase, one colour a polarisation.

    Amplitudes are relative to the median of all antennas, phases to the reference antenna; flagged points are left out.
    All panels are drawn in one pair of axes: with axes of their own, 96 antennas take ten seconds.
    """
    n_antennas = len(solutions.antenna_names)
    columns = min(n_antennas, max(4, math.ceil(math.sqrt(2 * n_antennas))))
    lines = math.ceil(n_antennas / columns)
    figure = Figure(figsize=(columns * _CELL_INCHES[0], lines * _CELL_INCHES[1] + 0.9), dpi=80)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.02, 0.98, 1.0 - 0.9 / (lines * _CELL_INCHES[1] + 0.9)))
    axes.set_xlim(0, columns)
    axes.set_ylim(0, lines)
    axes.set_axis_off()
    index = np.arange(n_antennas)
    corners = np.stack([index % columns, lines - 1 - index // columns], axis=-1).astype(float)
    top = _draw_points(axes, solutions, corners)
    frames = [Rectangle((x, y + low), _WIDTH, high - low) for x, y in corners for low, high in (_AMPLITUDE, _PHASE)]
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor="0.6", linewidth=0.6))
    for (x, y), name in zip(corners, solutions.antenna_names, strict=True):
        shown = f"{name} (ref)" if name == solutions.refant else name
        axes.text(x + _WIDTH / 2, y + _AMPLITUDE[1] + 0.02, shown, fontsize=7, ha="center", va="bottom")
    freqs_ghz = solutions.freqs_hz / 1e9
    figure.suptitle(
        f"{title}\nabove: amplitude, 0 to {top:.2f} of the median; below: phase, −180° to 180°; "
        f"across: {freqs_ghz.min():.3f} to {freqs_ghz.max():.3f} GHz",
        fontsize=9,
    )
    figure.savefig(path)


def _draw_points(axes: Axes, solutions: Solutions, corners: NDArray[np.float64]) -> float:
    """Draw all gains, each antenna's in its cell; return the amplitude at the top of a panel."""
    gains = np.where(solutions.flags, np.nan, solutions.gains)
    amplitudes = np.abs(gains)
    if np.isfinite(amplitudes).any():
        amplitudes /= np.nanmedian(amplitudes)
    top = float(np.nanmax(amplitudes)) * 1.1 if np.isfinite(amplitudes).any() else 1.0
    freqs_hz = solutions.freqs_hz
    across = (freqs_hz - freqs_hz.min()) / max(float(np.ptp(freqs_hz)), 1.0)
    x = corners[:, :1] + _WIDTH * (0.02 + 0.96 * across)
    for part, (low, high) in ((amplitudes / top, _AMPLITUDE), (0.5 + np.angle(gains) / (2 * np.pi), _PHASE)):
        y = corners[:, 1, None, None] + low + (high - low) * part
        for hand in range(gains.shape[1]):
            colour = _COLOURS[hand % 2]
            axes.plot(x.ravel(), y[:, hand].ravel(), marker=".", markersize=2, linestyle="none", color=colour)
    return top
