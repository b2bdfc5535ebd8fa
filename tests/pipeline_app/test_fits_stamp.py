from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from pipeline_app.fits_stamp import SIDE_PIX, NoStamp, StampRequest, stamp
from tests.pipeline_app.console_rows import FLUXES_JY, position_of, write_image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_image(tmp_path / "a.fits", {name: fluxes[0] for name, fluxes in FLUXES_JY.items()})
    return tmp_path / "a.fits"


def stamp_of(path: Path, asked: StampRequest) -> bytes:
    with path.open("rb") as file:
        return stamp(file, asked)


def decoded(png: bytes) -> np.ndarray:
    """Return the pixels of a picture, the highest row first; its checksums must be right."""
    at, parts = 8, {}
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        parts[kind], at = body, at + 12 + size
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    return np.frombuffer(zlib.decompress(parts[b"IDAT"]), dtype=np.uint8).reshape(height, width + 1)[:, 1:]


def request(ra_deg: float, dec_deg: float, *, size_arcmin: float = 2.0, high_jy: float = 0.3) -> StampRequest:
    return StampRequest(ra_deg=ra_deg, dec_deg=dec_deg, size_arcmin=size_arcmin, low_jy=-0.003, high_jy=high_jy)


def test_the_source_is_in_the_middle_and_white(image):
    pixels = decoded(stamp_of(image, request(*position_of("S02"))))
    assert pixels.shape == (SIDE_PIX, SIDE_PIX)
    bright = np.argwhere(pixels == 255)
    assert np.abs(bright.mean(axis=0) - SIDE_PIX / 2).max() < SIDE_PIX / 20
    assert np.median(pixels) < 60


def test_north_is_up_and_east_is_left(image):
    ra_deg, dec_deg = position_of("S02")
    pixels = decoded(stamp_of(image, request(ra_deg - 0.01, dec_deg - 0.005, high_jy=0.25)))
    row, column = np.argwhere(pixels == 255).mean(axis=0)
    assert row < SIDE_PIX / 2 and column < SIDE_PIX / 2


def test_beyond_the_edge_is_grey_and_far_away_is_refused(image):
    ra_deg, dec_deg = 10.0, 16.1 + 60 * 6 / 3600
    pixels = decoded(stamp_of(image, request(ra_deg, dec_deg)))
    assert set(np.unique(pixels[: SIDE_PIX // 3])) == {96}
    with pytest.raises(NoStamp, match="outside the image"):
        stamp_of(image, request(30.0, 16.1))


def test_nothing_is_imported_while_a_file_is_read_against_the_clock(image):
    ra_deg, dec_deg = position_of("S02")
    program = f"""
import sys
from pathlib import Path
from pipeline_app.fits_stamp import StampRequest, load_libraries, stamp
load_libraries()
before = set(sys.modules)
asked = StampRequest(ra_deg={ra_deg}, dec_deg={dec_deg}, size_arcmin=4.0, low_jy=0.0, high_jy=1.0)
with Path({str(image)!r}).open("rb") as file:
    assert stamp(file, asked)
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
