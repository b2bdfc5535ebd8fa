"""Pictures for people: a preview of an image, and the solutions of a calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib import image as mpl_image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from numpy.typing import NDArray

from pipeline_app.casa.fits_images import SkyImage
from pipeline_app.casa.solutions import Solutions
from pipeline_app.preview_frame import PreviewFrame

_BACKGROUND = "#11151c"
_INK = "#e8edf4"
_FAINT = "#8fa3bd"
THUMBNAIL_PIX = 256
"""Side of the small picture, at most."""
BLACK_SIGMA, WHITE_SIGMA = -3.0, 60.0
"""Ends of the scale in units of the noise; between them asinh, so that noise and bright sources both show."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What to draw."""

    image: SkyImage
    """Jy/beam, of even noise."""
    response: NDArray[np.float64]
    """Effective primary beam on the same pixels."""
    rms_jy: float
    title: str
    subtitle: str


def draw_preview(preview: Preview, path: Path) -> PreviewFrame:
    """Write a preview as a PNG of 1000 x 920 pixels: sky coordinates, beam, colour bar, half-power contour.

    Returns where the sky lies in it.
    """
    figure = Figure(figsize=(10, 9.2), dpi=100, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, 0.07, 0.75, 0.82), projection=preview.image.wcs)
    scale, norm = _scale(preview)
    picture = axes.imshow(
        preview.image.data * 1e3, origin="lower", cmap="inferno", norm=norm, interpolation="antialiased"
    )
    axes.contour(preview.response, levels=[0.5], colors=[_FAINT], linewidths=0.8, linestyles="--")
    _label_sky(axes)
    _draw_beam(axes, preview.image)
    bar_axes = figure.add_axes((0.89, 0.07, 0.022, 0.82))
    bar = figure.colorbar(picture, cax=bar_axes, extend="max")
    bar.set_ticks(_ticks(BLACK_SIGMA * scale, WHITE_SIGMA * scale))
    bar.ax.minorticks_off()
    bar.set_label("mJy/beam", color=_INK, fontsize=11)
    bar.ax.tick_params(colors=_INK, labelsize=9)
    bar.outline.set_edgecolor(_FAINT)
    figure.text(0.12, 0.945, preview.title, color=_INK, fontsize=15, weight="bold")
    figure.text(0.12, 0.912, preview.subtitle, color=_FAINT, fontsize=11)
    figure.savefig(path, facecolor=_BACKGROUND)
    return _frame(figure, axes, preview.image)


def _frame(figure: Figure, axes: WCSAxes, image: SkyImage) -> PreviewFrame:
    """Return where the axes are once they are drawn, in their true proportions."""
    box, wcs = axes.get_position(), image.wcs.wcs
    width_px, height_px = (round(each) for each in figure.bbox.size)
    slant = {number: value for axis, number, value in wcs.get_pv() if axis == 2}
    return PreviewFrame(
        width_px=width_px,
        height_px=height_px,
        left=box.x0,
        top=1 - box.y1,
        width=box.width,
        height=box.height,
        n_x=image.data.shape[1],
        n_y=image.data.shape[0],
        projection=wcs.ctype[0][-3:],
        ra_deg=wcs.crval[0],
        dec_deg=wcs.crval[1],
        x_pix=wcs.crpix[0] - 1,
        y_pix=wcs.crpix[1] - 1,
        dx_deg=wcs.cdelt[0],
        dy_deg=wcs.cdelt[1],
        slant=(slant.get(1, 0.0), slant.get(2, 0.0)),
    )


def draw_thumbnail(preview: Preview, path: Path) -> None:
    """Write the bare picture as a PNG of at most 256 pixels a side; each is the brightest of those it stands for."""
    data = preview.image.data * 1e3
    factor = math.ceil(data.shape[0] / THUMBNAIL_PIX)
    side = data.shape[0] // factor
    blocks = data[: side * factor, : side * factor].reshape(side, factor, side, factor)
    _, norm = _scale(preview)
    mpl_image.imsave(path, norm(blocks.max(axis=(1, 3))).filled(0.0), cmap="inferno", vmin=0, vmax=1, origin="lower")


def _scale(preview: Preview) -> tuple[float, ImageNormalize]:
    """Return the noise in mJy/beam, and the scale of colours."""
    noise = max(preview.rms_jy, 1e-12) * 1e3
    limits = {"vmin": BLACK_SIGMA * noise, "vmax": WHITE_SIGMA * noise}
    return noise, ImageNormalize(**limits, stretch=AsinhStretch(0.1), clip=True)


def _ticks(low: float, high: float) -> list[float]:
    """Return 0, the round numbers 1, 2, 5, ... within a decade and a half below the top, and one below zero."""
    powers = range(int(np.floor(np.log10(high))) - 1, int(np.floor(np.log10(high))) + 1)
    steps = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    below = [-step for step in steps if -step > low]
    return [*below[-1:], 0.0, *(step for step in steps if step < high)]


def _label_sky(axes: WCSAxes) -> None:
    right_ascension, declination = axes.coords[0], axes.coords[1]
    right_ascension.set_axislabel("Right ascension (ICRS)", color=_INK, fontsize=11)
    declination.set_axislabel("Declination (ICRS)", color=_INK, fontsize=11)
    right_ascension.set_major_formatter("hh:mm")
    declination.set_major_formatter("dd:mm")
    for coordinate in (right_ascension, declination):
        coordinate.set_ticklabel(color=_INK, size=9)
        coordinate.set_ticks(color=_FAINT)
        coordinate.grid(color=_FAINT, alpha=0.18, linestyle="-", linewidth=0.6)
    axes.coords.frame.set_color(_FAINT)


def _draw_beam(axes: WCSAxes, image: SkyImage) -> None:
    """Draw the beam at its true size in a box at the lower left, beside its dimensions."""
    side = image.data.shape[0]
    major, minor = (width / image.cell_arcsec for width in (image.beam.major_arcsec, image.beam.minor_arcsec))
    half = 0.5 * major + 0.008 * side
    centre = (0.02 * side + half, 0.02 * side + half)
    # position angle runs from north (up) through east (left): anticlockwise on the page
    beam = Ellipse(centre, width=minor, height=major, angle=image.beam.pa_deg, facecolor=_INK, edgecolor="none")
    axes.add_patch(beam)
    text = f"{image.beam.major_arcsec:.1f}″ × {image.beam.minor_arcsec:.1f}″"
    axes.text(centre[0] + half, centre[1], text, color=_INK, fontsize=9, va="center")


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
