"""What the ingest needs to know of a raw UVH5 file, read from its header without CASA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline_app.telescope import (
    CHANNEL_WIDTH_HZ,
    CHANNELS_PER_SUBBAND,
    DSA_NAMES,
    N_SUBBANDS,
    subband_freqs_hz,
)

JD_OF_MJD_0 = 2_400_000.5
JD_OF_1970 = 2_440_587.5
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class BadRawFile(Exception):
    """The file cannot be used; the message says why, without naming the file."""


@dataclass(frozen=True, kw_only=True)
class UVH5Header:
    """The part of a header that tells which tile a file belongs to and which subband it is."""

    telescope_name: str
    first_time_jd: float
    """First value of time_array: the middle of the first integration, UTC."""
    n_times: int
    integration_time_sec: float
    freq_min_hz: float
    freq_max_hz: float
    n_channels: int
    declination_deg: float
    """Apparent declination of the pointing."""
    phase_centre_deg: tuple[float, float] | None
    """ICRS direction that was tracked; None for a drifting telescope, which points to the meridian."""

    @property
    def is_dsa(self) -> bool:
        """Whether the DSA-110 wrote it."""
        return self.telescope_name in DSA_NAMES

    @property
    def first_time_ms(self) -> int:
        """First time in milliseconds since 1970, UTC without leap seconds."""
        return round((self.first_time_jd - JD_OF_1970) * 86_400_000)

    @property
    def start_mjd(self) -> float:
        """Start of the first integration, UTC."""
        return self.first_time_jd - JD_OF_MJD_0 - self.integration_time_sec / 2 / 86_400

    @property
    def duration_sec(self) -> float:
        """From the start of the first integration to the end of the last."""
        return self.n_times * self.integration_time_sec

    @property
    def mid_mjd(self) -> float:
        """Middle of the tile, UTC."""
        return self.start_mjd + self.duration_sec / 2 / 86_400

    @property
    def subband(self) -> int | None:
        """Number of the subband on the correlator's grid, by frequency; None off that grid or of another telescope."""
        if not self.is_dsa:
            return None
        middle_hz = (self.freq_min_hz + self.freq_max_hz) / 2
        steps = (float(subband_freqs_hz(0).mean()) - middle_hz) / (CHANNELS_PER_SUBBAND * CHANNEL_WIDTH_HZ)
        number = round(steps)
        return number if abs(steps - number) < 0.1 and 0 <= number < N_SUBBANDS else None


def is_hdf5(path: Path) -> bool:
    """Tell from its first bytes whether a file is HDF5, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC
    except OSError:
        return False


def read_uvh5_header(path: Path) -> UVH5Header:
    """Read and check the header of a raw file.

    Raises:
        BadRawFile: the file is missing, truncated, not HDF5, or lacks a part of a UVH5 file.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(file)
    except FileNotFoundError:
        raise BadRawFile("the file does not exist") from None
    except (OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise BadRawFile(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    text = str(error.args[0] if error.args else error)
    if "truncated file" in text:
        return "the file is truncated"
    if "file signature not found" in text:
        return "not an HDF5 file"
    return f"not a readable UVH5 file: {text}"


def _read(file: h5py.File) -> UVH5Header:
    header, data = file["Header"], file["Data"]
    times_jd = np.ravel(header["time_array"][()]).astype(float)
    freqs_hz = np.ravel(header["freq_array"][()]).astype(float)
    integration_time_sec = float(np.ravel(header["integration_time"][()])[0])
    shape = data["visdata"].shape
    if not len(times_jd) or shape[0] != len(times_jd) or shape[-2] != len(freqs_hz):
        raise ValueError(f"data of shape {shape} for {len(times_jd)} rows and {len(freqs_hz)} channels")
    for name in ("flags", "nsamples"):
        if data[name].shape != shape:
            raise ValueError(f"{name} of shape {data[name].shape} for data of shape {shape}")
    if not np.isfinite(times_jd).all() or not np.isfinite(freqs_hz).all() or not integration_time_sec > 0:
        raise ValueError("times, frequencies or the integration time are not finite numbers")
    declination_deg, phase_centre_deg = _pointing(header)
    return UVH5Header(
        telescope_name=_text(header["telescope_name"][()]),
        first_time_jd=float(times_jd.min()),
        n_times=len(np.unique(times_jd)),
        integration_time_sec=integration_time_sec,
        freq_min_hz=float(freqs_hz.min()),
        freq_max_hz=float(freqs_hz.max()),
        n_channels=len(freqs_hz),
        declination_deg=declination_deg,
        phase_centre_deg=phase_centre_deg,
    )


def _pointing(header: h5py.Group) -> tuple[float, tuple[float, float] | None]:
    """Return the apparent declination in degrees and, unless the telescope drifts, the ICRS phase centre."""
    extra: Any = header.get("extra_keywords", {})
    declination_rad = _first(extra.get("phase_center_dec"))
    if declination_rad is None:
        declination_rad = _first(header.get("phase_center_app_dec"))
    centre = None if _drifts(header) else _phase_centre_rad(header)
    if declination_rad is None and centre is not None:
        declination_rad = centre[1]
    if declination_rad is None or not np.isfinite(declination_rad):
        raise ValueError("the header does not say where the telescope pointed")
    if centre is None:
        return float(np.degrees(declination_rad)), None
    return float(np.degrees(declination_rad)), (float(np.degrees(centre[0]) % 360), float(np.degrees(centre[1])))


def _drifts(header: h5py.Group) -> bool:
    if _text(header["telescope_name"][()]) in DSA_NAMES:
        return True
    return "phase_type" in header and _text(header["phase_type"][()]) == "drift"


def _phase_centre_rad(header: h5py.Group) -> tuple[float, float] | None:
    catalog = header.get("phase_center_catalog")
    if catalog is not None and len(catalog):
        key = str(int(_first(header.get("phase_center_id_array")) or 0))
        entry = catalog[key if key in catalog else next(iter(catalog))]
        ra, dec = _first(entry.get("cat_lon")), _first(entry.get("cat_lat"))
    else:
        ra, dec = _first(header.get("phase_center_ra")), _first(header.get("phase_center_dec"))
    return None if ra is None or dec is None else (ra, dec)


def _first(dataset: h5py.Dataset | None) -> float | None:
    return None if dataset is None else float(np.ravel(dataset[()])[0])


def _text(value: bytes | str | np.ndarray) -> str:
    if isinstance(value, np.ndarray):
        value = value.ravel()[0]
    return value.decode() if isinstance(value, bytes) else str(value)
