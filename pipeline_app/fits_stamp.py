"""A small picture cut out of a FITS image around a position, as PNG: for pages, without a plotting library."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.io.fits import PrimaryHDU

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


def stamp(file: BinaryIO, asked: StampRequest) -> bytes:
    """Return a grey PNG of SIDE_PIX pixels, north up; what lies outside the image or is blank is mid-grey.

    Only the rows of the image that hold the cut-out are read. Raises NoStamp and OSError.
    """
    # Here, because only this page of the console needs them.
    import warnings

    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS

    with fits.open(file, memmap=True) as stored, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        header = stored[0].header
        wcs = WCS(header).celestial
        if wcs.naxis != 2 or len(stored[0].shape) < 2:
            raise NoStamp(f"{file.name} has no sky coordinates")
        x, y = (float(value) for value in wcs.all_world2pix(asked.ra_deg, asked.dec_deg, 0))
        cell_arcmin = abs(float(wcs.wcs.cdelt[1])) * 60
        height, width = stored[0].shape[-2:]
        half = asked.size_arcmin / cell_arcmin / 2
        if not (math.isfinite(x) and math.isfinite(y)) or not (-half < x < width + half and -half < y < height + half):
            raise NoStamp("the position lies outside the image")
        return _png(_scaled(_cut(stored[0], x, y, half), asked))


def _cut(image: PrimaryHDU, x: float, y: float, half: float) -> NDArray[np.float64]:
    """Return the nearest pixels on a grid of SIDE_PIX around a place, NaN outside."""
    height, width = image.shape[-2:]
    steps = (np.arange(SIDE_PIX) + 0.5) / SIDE_PIX * 2 - 1
    columns, rows = (np.floor(centre + half * steps + 0.5).astype(int) for centre in (x, y))
    inside_x, inside_y = (columns >= 0) & (columns < width), (rows >= 0) & (rows < height)
    cut = np.full((SIDE_PIX, SIDE_PIX), np.nan)
    if not (inside_x.any() and inside_y.any()):
        return cut
    low, high = rows[inside_y][[0, -1]]
    # Whole rows, which lie in one piece: of a file of another host that is one request.
    strip = image.section[(0,) * (len(image.shape) - 2) + (slice(low, high + 1),)]
    cut[np.ix_(inside_y, inside_x)] = strip[np.ix_(rows[inside_y] - low, columns[inside_x])]
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
