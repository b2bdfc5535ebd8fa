"""One page of small multiples: amplitude and phase against frequency for every antenna."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline_app.casa.solutions import Solutions

_COLOURS = ("#1f6fb4", "#d1622b")
_PANEL_INCHES = (1.5, 1.25)


def plot_solutions(solutions: Solutions, path: Path, *, title: str) -> None:
    """Draw the total gains as a PNG: for each antenna amplitude above phase, one colour a polarisation.

    Amplitudes are relative to the median of all antennas, phases to the reference antenna; flagged points are left out.
    """
    n_antennas = len(solutions.antenna_names)
    columns = min(n_antennas, max(4, math.ceil(math.sqrt(2 * n_antennas))))
    lines = math.ceil(n_antennas / columns)
    figure = Figure(figsize=(columns * _PANEL_INCHES[0], 2 * lines * _PANEL_INCHES[1] + 0.9), dpi=80)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * lines, columns, sharex=True, squeeze=False)
    gains = np.where(solutions.flags, np.nan, solutions.gains)
    amplitudes = np.abs(gains) / np.nanmedian(np.abs(gains)) if (~solutions.flags).any() else np.abs(gains)
    freqs_ghz = solutions.freqs_hz / 1e9
    top = float(np.nanmax(amplitudes)) * 1.1 if np.isfinite(amplitudes).any() else 1.0
    for index in range(lines * columns):
        line, column = divmod(index, columns)
        above, below = axes[2 * line, column], axes[2 * line + 1, column]
        if index >= n_antennas:
            above.set_visible(False)
            below.set_visible(False)
            continue
        for hand in range(gains.shape[1]):
            style = {"marker": ".", "markersize": 2, "linestyle": "none", "color": _COLOURS[hand % 2]}
            above.plot(freqs_ghz, amplitudes[index, hand], **style)
            below.plot(freqs_ghz, np.degrees(np.angle(gains[index, hand])), **style)
        above.set_ylim(0, top)
        below.set_ylim(-190, 190)
        below.set_yticks([-180, 0, 180])
        name = solutions.antenna_names[index]
        above.set_title(f"{name} (ref)" if name == solutions.refant else name, fontsize=7, pad=2)
        for axis in (above, below):
            axis.tick_params(labelsize=5, length=2)
            axis.label_outer()
    axes[0, 0].set_ylabel("amplitude", fontsize=6)
    axes[1, 0].set_ylabel("phase (°)", fontsize=6)
    figure.suptitle(title, fontsize=9)
    figure.supxlabel("frequency (GHz)", fontsize=7)
    figure.subplots_adjust(left=0.04, right=0.995, top=0.92, bottom=0.07, wspace=0.08, hspace=0.25)
    figure.savefig(path)
