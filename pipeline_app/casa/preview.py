"""A picture of an image for people: sky coordinates, beam, colour bar, half-power contour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib import image as mpl_image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from pipeline_app.casa.fits_images import SkyImage

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


def draw_preview(preview: Preview, path: Path) -> None:
    """Write the picture as a PNG of 1000 x 920 pixels."""
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
