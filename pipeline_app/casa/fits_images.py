"""FITS images of one plane: reading, and writing with the header that astronomical tools expect."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from pipeline_app.verdicts import VerdictRecord, from_cards, to_cards
from tasks_app.engine.handler import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Beam:
    """A restoring beam: full widths at half maximum, position angle north through east."""

    major_arcsec: float
    minor_arcsec: float
    pa_deg: float

    @property
    def mean_arcsec(self) -> float:
        """Width of a round beam of the same solid angle."""
        return float(np.sqrt(self.major_arcsec * self.minor_arcsec))


@dataclass(frozen=True, kw_only=True)
class SkyImage:
    """One plane of sky, (n_y, n_x), with its header."""

    data: NDArray[np.float64]
    header: fits.Header
    wcs: WCS
    """Celestial axes only."""
    beam: Beam

    @property
    def cell_arcsec(self) -> float:
        """Side of a pixel."""
        return abs(float(self.wcs.wcs.cdelt[1])) * 3600.0

    @property
    def verdict(self) -> VerdictRecord:
        """The verdict of the stage that made the image."""
        return from_cards(self.header)

    @property
    def freq_hz(self) -> float | None:
        """Frequency of the image, None when its header has none."""
        for axis in range(1, self.header.get("NAXIS", 0) + 1):
            if str(self.header.get(f"CTYPE{axis}", "")).startswith("FREQ"):
                return float(self.header[f"CRVAL{axis}"])
        return None


def read_image(path: str | Path) -> SkyImage:
    """Read a FITS image of one plane (degenerate axes allowed).

    Raises:
        InvalidInput: it cannot be read, has several planes, or lacks sky coordinates or a beam.
    """
    try:
        with fits.open(path) as stored:
            header = stored[0].header.copy()
            values = stored[0].data
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as FITS: {error}") from error
    if values is None or np.squeeze(values).ndim != 2:
        raise InvalidInput(f"{path} is not an image of one plane")
    with warnings.catch_warnings():
        # astropy completes the observatory and the date that CASA writes in its own way
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header).celestial
    if wcs.naxis != 2:
        raise InvalidInput(f"{path} has no sky coordinates")
    if "BMAJ" not in header:
        raise InvalidInput(f"{path} has no restoring beam (BMAJ, BMIN, BPA)")
    beam = Beam(
        major_arcsec=header["BMAJ"] * 3600.0, minor_arcsec=header["BMIN"] * 3600.0, pa_deg=header.get("BPA", 0.0)
    )
    return SkyImage(data=np.squeeze(values).astype(np.float64), header=header, wcs=wcs, beam=beam)


def read_plane(path: str | Path) -> NDArray[np.float32]:
    """Read the pixels (n_y, n_x) of a FITS file of one plane, whatever its header lacks."""
    return np.ascontiguousarray(np.squeeze(fits.getdata(path)), dtype=np.float32)


def write_image(
    path: Path,
    like: SkyImage,
    data: NDArray[np.floating],
    *,
    freq_hz: float,
    note: str,
    unit: str = "Jy/beam",
    verdict: VerdictRecord | None = None,
    cards: Mapping[str, float] | None = None,
) -> None:
    """Write a plane with the coordinates and beam of `like`, its frequency axis at `freq_hz`.

    Its verdict and further header cards are written if given.
    """
    header = like.header.copy()
    header.update(cards or {})
    for axis in range(1, header.get("NAXIS", 0) + 1):
        if str(header.get(f"CTYPE{axis}", "")).startswith("FREQ"):
            header[f"CRVAL{axis}"] = freq_hz
            header[f"CRPIX{axis}"] = 1.0
    header["BUNIT"] = unit
    header["RESTFRQ"] = freq_hz
    header["COMMENT"] = note
    if verdict is not None:
        to_cards(verdict, header)
    shape = tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))
    for key in ("DATAMAX", "DATAMIN"):
        header.remove(key, ignore_missing=True)
    fits.PrimaryHDU(data=data.astype(np.float32).reshape(shape), header=header).writeto(path)
