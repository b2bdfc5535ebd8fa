"""A small picture cut out of a FITS image around a position, as PNG: for pages, without a plotting library."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE_PIX = 128
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SOFTENING = 0.1
"""Of the asinh scale, as in the previews."""


class NoStamp(ValueError):
    """The file is no image of the sky, or the position lies outside."""


@dataclass(frozen=True, kw_only=True)
class StampRequest:
    """Where to cut, and which values are black and white."""

    ra_deg: float
    dec_deg: float
    size_arcmin: float
    low_jy: float
    high_jy: float


def load_libraries() -> None:
    """Import what a stamp needs. It takes most of a second, on a busy host many: no part of the time to read a file."""
    import astropy.io.fits
    import astropy.wcs  # noqa: F401


def stamp(path: Path, asked: StampRequest) -> bytes:
    """Return a grey PNG of SIDE_PIX pixels, north up; what lies outside the image or is blank is mid-grey.

    Only the pages of the file that hold the cut-out are read. Raises NoStamp and OSError.
    """
    # Here, because only this page of the console needs them.
    import warnings

    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS

    with fits.open(path, memmap=True) as stored, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        header = stored[0].header
        wcs = WCS(header).celestial
        if wcs.naxis != 2 or stored[0].data is None:
            raise NoStamp(f"{path.name} has no sky coordinates")
        x, y = (float(value) for value in wcs.all_world2pix(asked.ra_deg, asked.dec_deg, 0))
        cell_arcmin = abs(float(wcs.wcs.cdelt[1])) * 60
        plane = stored[0].data.reshape(stored[0].data.shape[-2:])
        half = asked.size_arcmin / cell_arcmin / 2
        if not (math.isfinite(x) and math.isfinite(y)) or not (
            -half < x < plane.shape[1] + half and -half < y < plane.shape[0] + half
        ):
            raise NoStamp("the position lies outside the image")
        return _png(_scaled(_cut(plane, x, y, half), asked))


def _cut(plane: NDArray[np.floating], x: float, y: float, half: float) -> NDArray[np.float64]:
    """Return the nearest pixels on a grid of SIDE_PIX around a place, NaN outside."""
    steps = (np.arange(SIDE_PIX) + 0.5) / SIDE_PIX * 2 - 1
    columns, rows = (np.floor(centre + half * steps + 0.5).astype(int) for centre in (x, y))
    inside_x, inside_y = (columns >= 0) & (columns < plane.shape[1]), (rows >= 0) & (rows < plane.shape[0])
    cut = np.full((SIDE_PIX, SIDE_PIX), np.nan)
    cut[np.ix_(inside_y, inside_x)] = plane[np.ix_(rows[inside_y], columns[inside_x])]
    return cut


def _scaled(cut: NDArray[np.float64], asked: StampRequest) -> NDArray[np.uint8]:
    part = np.clip((cut - asked.low_jy) / max(asked.high_jy - asked.low_jy, 1e-12), 0, 1)
    bright = np.arcsinh(part / SOFTENING) / np.arcsinh(1 / SOFTENING)
    return np.where(np.isfinite(bright), np.round(255 * np.nan_to_num(bright)), 96).astype(np.uint8)


def _png(grey: NDArray[np.uint8]) -> bytes:
    """Encode a picture, its first row the lowest, as 8-bit greyscale PNG (PNG specification, third edition, §5)."""
    height, width = grey.shape
    lines = b"".join(b"\0" + row.tobytes() for row in grey[::-1])
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    return PNG_MAGIC + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
