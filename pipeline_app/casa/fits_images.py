"""FITS images of one plane, and the pixels of an image: how large they are, how many, and where on the sky."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import next_fast_len

from pipeline_app.casa.measurement_set import MeasurementSetInfo
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
        return abs(float(self.wcs.wcs.cdelt[1])) * 3600.0

    @property
    def verdict(self) -> VerdictRecord:
        return from_cards(self.header)

    @property
    def freq_hz(self) -> float | None:
        """Frequency of the image, None when its header has none."""
        axis = _freq_axis(self.header)
        return float(self.header[f"CRVAL{axis}"]) if axis else None


def _freq_axis(header: fits.Header) -> int | None:
    """Return the number of the frequency axis, from 1."""
    axes = range(1, header.get("NAXIS", 0) + 1)
    return next((axis for axis in axes if str(header.get(f"CTYPE{axis}", "")).startswith("FREQ")), None)


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
    if axis := _freq_axis(header):
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


PIXELS_PER_BEAM = 5.0
"""Across the minor axis of the fitted beam."""
NYQUIST_MARGIN = 2.2
"""Pixels per fringe of the longest baseline; data beyond 2 would fall off the grid."""
MAX_SIZE_PIX = 8192
W_PHASE_RAD = 0.125
"""Largest phase error that a w plane may leave at the edge of the field; four times this costs 1 % of a flux there."""
MAX_W_PLANES = 256
FIT_LEVEL = 0.35
"""The beam is fitted to the point spread function's peak down to this."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A square image in the orthographic (SIN) projection about the phase centre, x to the west, y to the north."""

    imsize_pix: int
    cell_arcsec: float

    @property
    def cell_rad(self) -> float:
        return math.radians(self.cell_arcsec / 3600.0)

    def w_planes(self, max_w_wavelengths: float) -> int:
        """Return how many planes of w-projection the field needs (tclean only)."""
        planes = math.ceil(math.pi * max_w_wavelengths * (self.imsize_pix * self.cell_rad / 2.0) ** 2 / W_PHASE_RAD)
        return min(max(planes, 1), MAX_W_PLANES)

    def header(self, info: MeasurementSetInfo, freq_hz: float, beam: Beam) -> fits.Header:
        """Return a FITS header of four axes, as WSClean and CASA write it."""
        centre, cell_deg, side = self.imsize_pix // 2 + 1.0, self.cell_arcsec / 3600.0, self.imsize_pix
        header = fits.Header()
        header["NAXIS"] = 4
        axes = (
            ("RA---SIN", info.phase_ra_deg, centre, -cell_deg, "deg", side),
            ("DEC--SIN", info.phase_dec_deg, centre, cell_deg, "deg", side),
            ("FREQ", freq_hz, 1.0, float(np.ptp(info.freqs_hz)) + info.channel_width_hz, "Hz", 1),
            ("STOKES", 1.0, 1.0, 1.0, "", 1),
        )
        for axis, (kind, value, pixel, step, unit, length) in enumerate(axes, start=1):
            header[f"NAXIS{axis}"] = length
            header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = kind, value, pixel
            header[f"CDELT{axis}"], header[f"CUNIT{axis}"] = step, unit
        header["BMAJ"], header["BMIN"] = beam.major_arcsec / 3600.0, beam.minor_arcsec / 3600.0
        header["BPA"] = beam.pa_deg
        header["RADESYS"], header["SPECSYS"], header["TELESCOP"] = "ICRS", "TOPOCENT", info.telescope_name
        start = Time(info.times_mjd[0] - info.integration_sec / 172800.0, format="mjd", scale="utc")
        header["DATE-OBS"], header["MJD-OBS"] = start.isot, start.mjd
        header["TIMESYS"] = "UTC"
        return header


def choose_grid(
    *,
    cell_arcsec: float | None,
    imsize_pix: int | None,
    field_deg: float,
    beam_minor_arcsec: float,
    max_uv_wavelengths: float,
) -> Grid:
    """Return pixel and size: what is given, else what the beam and the longest baseline need.

    Raises:
        InvalidInput: the image would be larger than 8192 pixels.
    """
    nyquist_arcsec = math.degrees(1.0 / (NYQUIST_MARGIN * max_uv_wavelengths)) * 3600.0
    cell = cell_arcsec or math.floor(100.0 * min(beam_minor_arcsec / PIXELS_PER_BEAM, nyquist_arcsec)) / 100.0
    size = imsize_pix or fast_size(math.ceil(field_deg * 3600.0 / cell))
    if size > MAX_SIZE_PIX:
        raise InvalidInput(f"an image of {size} pixels a side is too large (limit {MAX_SIZE_PIX}); give a larger cell")
    return Grid(imsize_pix=size, cell_arcsec=cell)


def fast_size(at_least: int) -> int:
    """Return the next even size whose only prime factors are 2, 3 and 5: quick to transform."""
    size = next_fast_len(at_least, real=True)
    while size % 2:
        size = next_fast_len(size + 1, real=True)
    return int(size)


def fit_beam(psf: NDArray[np.floating], cell_arcsec: float) -> Beam:
    """Fit a Gaussian of height 1 to the peak of a point spread function (n_y, n_x) centred at n // 2.

    The logarithm of the pixels above `FIT_LEVEL` that touch the peak is fitted by least squares, weighted by their
    values: the Gaussian that convolves clean components must be as wide as the lobe that they replace.
    """
    centre = psf.shape[0] // 2
    half = min(40, centre - 1)
    cut = psf[centre - half : centre + half + 1, centre - half : centre + half + 1].astype(float)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    labels, _ = ndimage.label(cut > FIT_LEVEL)
    lobe = (labels == labels[half, half]) & (cut < 0.9999)
    if int(lobe.sum()) < 4:  # a lobe of one pixel: too coarse to fit
        return Beam(major_arcsec=cell_arcsec, minor_arcsec=cell_arcsec, pa_deg=0.0)
    terms = np.stack([x[lobe] ** 2, 2 * x[lobe] * y[lobe], y[lobe] ** 2], axis=1)
    solution = np.linalg.lstsq(terms * cut[lobe, None], -np.log(cut[lobe]) * cut[lobe], rcond=None)[0]
    values, axes = np.linalg.eigh(np.array([[solution[0], solution[1]], [solution[1], solution[2]]]))
    major, minor = 2.0 * np.sqrt(np.log(2.0) / np.maximum(values, 1e-6)) * cell_arcsec
    # x grows to the west and position angle runs from north through east
    angle_deg = math.degrees(math.atan2(-axes[0, 0], axes[1, 0]))
    return Beam(major_arcsec=float(major), minor_arcsec=float(minor), pa_deg=(angle_deg + 90.0) % 180.0 - 90.0)
