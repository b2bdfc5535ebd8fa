"""The header of a raw UVH5 file, read and checked once for all who use it: ingest, conversion, calibration.

What is refused here no stage can use; what passes here every stage can read. No CASA, no pyuvdata, no Django.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline_app.telescope import (
    CHANNEL_WIDTH_HZ,
    CHANNELS_PER_SUBBAND,
    DSA_NAMES,
    N_SUBBANDS,
    earth_orientation_range_mjd,
    subband_freqs_hz,
)


class BadRawFile(Exception):
    """The file cannot be used; the message is the reason, without the name of the file."""


def numbers(group: h5py.Group, name: str, count: int | None = None) -> NDArray[np.float64]:
    """Return a dataset as finite numbers, shape (count,).

    Raises:
        BadRawFile: there are none, or not `count` of them, or some are no finite numbers.
    """
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iuf":
        raise BadRawFile(f"{name} are not numbers")
    if dataset.size == 0 or (count is not None and dataset.size != count):
        raise BadRawFile(f"{name} has {dataset.size} values instead of {'some' if count is None else count}")
    values = np.ravel(dataset[()]).astype(np.float64)
    if not np.isfinite(values).all():
        raise BadRawFile(f"{name} holds values that are not finite")
    return values


def first_number(group: h5py.Group, name: str) -> float:
    """Return the first, as a rule the only, number of a dataset. Raises BadRawFile."""
    return float(numbers(group, name)[0])


def optional_number(group: h5py.Group | None, name: str) -> float | None:
    """Return the first number of a dataset, None where there is no such dataset. Raises BadRawFile."""
    return None if group is None or name not in group else first_number(group, name)


def text(value: Any) -> str:
    """Return a dataset or a value of one as text. Raises BadRawFile when it is not UTF-8."""
    if isinstance(value, h5py.Dataset):
        value = value[()]
    if isinstance(value, np.ndarray):
        value = value.ravel()[0]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise BadRawFile(f"the header holds a text that is not UTF-8: {value[:40]!r}") from None


DECLINATION_KEYS_TOLERANCE_DEG = 1e-3
"""How far two declinations of one header may differ: by rounding, not by epoch."""
HOUR_ANGLE_TOLERANCE_RAD = 1e-6
_WITH_CATALOG = ("phase_center_app_ra", "phase_center_app_dec", "phase_center_frame_pa", "phase_center_id_array")


def read_pointing(header: h5py.Group, *, is_dsa: bool, latitude_deg: float) -> tuple[float, tuple[float, float] | None]:
    """Return the apparent declination in degrees and, unless the telescope drifts, the ICRS phase centre in degrees.

    A DSA-110 file that drifts must name its declination; other drifting telescopes point to the zenith.

    Raises:
        BadRawFile: the header has no pointing, or two that differ.
    """
    centre_deg = _phase_centre_deg(header)
    if not is_dsa:
        return (latitude_deg, None) if centre_deg is None else (centre_deg[1], centre_deg)
    declination_deg = _dsa_declination_deg(header)
    if centre_deg is not None:
        return centre_deg[1] if declination_deg is None else declination_deg, centre_deg
    if declination_deg is None:
        raise BadRawFile("the pointing is unknown: the header has no extra_keywords/phase_center_dec")
    return declination_deg, None


def _dsa_declination_deg(header: h5py.Group) -> float | None:
    """Return the declination that the correlator's keys agree on. Raises BadRawFile when they do not."""
    extra = header.get("extra_keywords")
    hour_angle_rad = optional_number(extra, "ha_phase_center")
    if hour_angle_rad is not None and abs(hour_angle_rad) > HOUR_ANGLE_TOLERANCE_RAD:
        raise BadRawFile(
            f"extra_keywords/ha_phase_center is {hour_angle_rad:g} rad: only data stopped at hour angle 0 can be used"
        )
    declinations_deg = {
        name: float(np.degrees(value))
        for name, value in (
            ("extra_keywords/phase_center_dec", optional_number(extra, "phase_center_dec")),
            ("phase_center_app_dec", optional_number(header, "phase_center_app_dec")),
        )
        if value is not None
    }
    for name, value_deg in declinations_deg.items():
        if abs(value_deg) > 90:
            raise BadRawFile(f"{name} is {value_deg:g}°, not within -90° and 90°")
    if len(declinations_deg) > 1 and np.ptp(list(declinations_deg.values())) > DECLINATION_KEYS_TOLERANCE_DEG:
        listed = ", ".join(f"{name} is {value_deg:.4f}°" for name, value_deg in declinations_deg.items())
        raise BadRawFile(f"the header contradicts itself: {listed}")
    return next(iter(declinations_deg.values()), None)


def _phase_centre_deg(header: h5py.Group) -> tuple[float, float] | None:
    """Return the one fixed direction of the phase centre, None where fringes are not stopped or at the meridian."""
    catalog = _catalog(header)
    if catalog is None:
        if "phase_type" not in header:
            raise BadRawFile("the header lacks phase_type or phase_center_catalog")
        if text(header["phase_type"]) != "phased":
            return None
        return _degrees(first_number(header, "phase_center_ra"), first_number(header, "phase_center_dec"))
    missing = [name for name in _WITH_CATALOG if name not in header]
    if missing:
        raise BadRawFile(f"the header lacks {', '.join(missing)}")
    kinds = {entry["cat_type"] for entry in catalog}
    if kinds == {"unprojected"}:
        return None
    if len(catalog) != 1 or kinds != {"sidereal"}:
        raise BadRawFile("the file has several phase centres, or a moving one")
    return _degrees(float(catalog[0]["cat_lon"]), float(catalog[0]["cat_lat"]))


def _catalog(header: h5py.Group) -> list[Mapping[str, Any]] | None:
    """Return the entries of the phase centre catalogue, a group or (before UVH5 1.1) JSON; None without one."""
    found = header.get("phase_center_catalog")
    if found is None:
        return None
    if isinstance(found, h5py.Dataset):
        entries = list(json.loads(text(found)).values())
    else:
        entries = [
            {"cat_type": text(entry["cat_type"])}
            | {name: first_number(entry, name) for name in ("cat_lon", "cat_lat") if name in entry}
            for entry in found.values()
        ]
    if not entries or any(
        entry["cat_type"] == "sidereal" and not {"cat_lon", "cat_lat"} <= set(entry) for entry in entries
    ):
        raise BadRawFile("phase_center_catalog is empty or lacks cat_lon and cat_lat")
    return entries


def _degrees(ra_rad: float, dec_rad: float) -> tuple[float, float]:
    if abs(dec_rad) > np.pi / 2 + 1e-9:
        raise BadRawFile(f"the declination of the phase centre is {np.degrees(dec_rad):g}°")
    return float(np.degrees(ra_rad) % 360), float(np.degrees(dec_rad))


JD_OF_MJD_0 = 2_400_000.5
JD_OF_1970 = 2_440_587.5
GRID_TOLERANCE = 0.01
"""How far a channel may lie from where it should, in channel widths."""

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_REQUIRED = (
    *("telescope_name", "latitude", "longitude", "altitude", "instrument", "history", "Nants_telescope", "Nants_data"),
    *("antenna_names", "antenna_numbers", "antenna_positions", "Nfreqs", "Npols", "Nspws", "Ntimes", "Nblts", "Nbls"),
    *("ant_1_array", "ant_2_array", "time_array", "integration_time", "freq_array", "spw_array", "uvw_array"),
    *("polarization_array", "channel_width"),
)
"""What the UVH5 format requires (pyuvdata memo 7), and pyuvdata refuses to do without."""
_TELESCOPE_NAME_CHARS = 64
_MAX_ROWS = 50_000_000
_MAX_CHANNELS = 1_000_000
_FREQ_RANGE_HZ = (1e6, 1e12)
_LONGEST_INTEGRATION_SEC = 86_400.0
_SPACING_TOLERANCE = 0.01
"""Relative, between the spacing of the times and the integration time of a DSA-110 file."""


class FileBusy(BadRawFile):
    """Another process holds the file; it may be usable later."""


@dataclass(frozen=True, kw_only=True)
class RawHeader:
    """The place of a file in a tile, by its header: time, spectrum, pointing, antennas."""

    path: Path
    telescope_name: str
    first_time_jd: float
    """Earliest value of time_array: the middle of the first integration, UTC."""
    n_times: int
    integration_time_sec: float
    freqs_hz: NDArray[np.float64]
    """Ascending, whatever the order in the file."""
    channel_width_hz: float
    """Spacing of the channels; of a single channel, its width."""
    n_rows: int
    polarizations: tuple[int, ...]
    """AIPS codes in the order of the file: -5 XX, -6 YY."""
    declination_deg: float
    """Apparent declination of the pointing."""
    phase_centre_deg: tuple[float, float] | None
    """ICRS direction that was tracked; None for a drifting telescope, which points to the meridian."""
    site_deg_m: tuple[float, float, float]
    """Latitude and longitude in degrees and height in metres of the array."""
    antenna_numbers: tuple[int, ...]
    antenna_names: tuple[str, ...]
    antenna_positions_m: NDArray[np.float64]
    """From the array's position along the geocentric axes, shape (n_antennas, 3)."""

    @property
    def is_dsa(self) -> bool:
        """Whether the DSA-110 wrote it."""
        return self.telescope_name in DSA_NAMES

    @property
    def n_polarizations(self) -> int:
        return len(self.polarizations)

    @property
    def n_channels(self) -> int:
        return len(self.freqs_hz)

    @property
    def freq_min_hz(self) -> float:
        """Centre of the lowest channel."""
        return float(self.freqs_hz[0])

    @property
    def freq_max_hz(self) -> float:
        """Centre of the highest channel."""
        return float(self.freqs_hz[-1])

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
    """Return whether a file is HDF5 by its first bytes, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC
    except (OSError, ValueError):
        return False


def read_header(path: Path) -> RawHeader:
    """Read and check the header of a raw file.

    Raises:
        FileBusy: another process has the file locked.
        BadRawFile: the file is missing, truncated, not HDF5, lacks a part of a UVH5 file, or contradicts itself.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(path, file)
    except BadRawFile:
        raise
    except FileNotFoundError:
        raise BadRawFile("the file does not exist") from None
    # h5py raises nearly every class of exception for what can be wrong in a file.
    except Exception as error:
        raise _as_bad_file(error) from error


def _as_bad_file(error: Exception) -> BadRawFile:
    message = str((isinstance(error, OSError) and error.strerror) or (error.args[0] if error.args else error))
    if "unable to lock file" in message:
        return FileBusy("another process has it open for writing (HDF5 file lock)")
    if "truncated file" in message:
        return BadRawFile("the file is truncated")
    if "file signature not found" in message:
        return BadRawFile("not an HDF5 file")
    return BadRawFile(f"not a readable UVH5 file: {message}")


def _read(path: Path, file: h5py.File) -> RawHeader:
    header, data = file["Header"], file["Data"]
    missing = [name for name in _REQUIRED if name not in header]
    missing += [f"Data/{name}" for name in ("visdata", "flags", "nsamples") if name not in data]
    if missing:
        raise BadRawFile(f"the header lacks {', '.join(missing)}")
    telescope_name = text(header["telescope_name"])
    if not 1 <= len(telescope_name) <= _TELESCOPE_NAME_CHARS or not telescope_name.isprintable():
        raise BadRawFile(f"telescope_name must be 1 to {_TELESCOPE_NAME_CHARS} printable characters")
    is_dsa = telescope_name in DSA_NAMES
    shape = _shape_of_data(header, data)
    first_time_jd, n_times, integration_time_sec = _read_times(header, shape[0], is_dsa=is_dsa)
    freqs_hz, channel_width_hz = _read_spectrum(header, shape[-2])
    antennas = _read_antennas(header)
    _check_baselines(header, shape[0], antennas[0])
    site = tuple(first_number(header, name) for name in ("latitude", "longitude", "altitude"))
    if abs(site[0]) > 90 or abs(site[1]) > 360 or abs(site[2]) > 1e5:
        raise BadRawFile(f"the position of the array, {site[0]:g}°, {site[1]:g}°, {site[2]:g} m, is not on the Earth")
    declination_deg, phase_centre_deg = read_pointing(header, is_dsa=is_dsa, latitude_deg=site[0])
    return RawHeader(
        path=path,
        telescope_name=telescope_name,
        first_time_jd=first_time_jd,
        n_times=n_times,
        integration_time_sec=integration_time_sec,
        freqs_hz=freqs_hz,
        channel_width_hz=channel_width_hz,
        n_rows=shape[0],
        polarizations=tuple(int(code) for code in numbers(header, "polarization_array", shape[-1])),
        declination_deg=declination_deg,
        phase_centre_deg=phase_centre_deg,
        site_deg_m=(site[0], site[1], site[2]),
        antenna_numbers=antennas[0],
        antenna_names=antennas[1],
        antenna_positions_m=antennas[2],
    )


def _shape_of_data(header: h5py.Group, data: h5py.Group) -> tuple[int, ...]:
    """Return the shape of visdata: rows, perhaps 1, channels, polarisations."""
    shape = tuple(int(size) for size in data["visdata"].shape)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] != 1) or 0 in shape:
        raise BadRawFile(f"visdata has the shape {shape}, not (rows, channels, polarisations)")
    if shape[0] > _MAX_ROWS or shape[-2] > _MAX_CHANNELS:
        raise BadRawFile(f"visdata has the shape {shape}: more than {_MAX_ROWS} rows or {_MAX_CHANNELS} channels")
    kind = data["visdata"].dtype
    if kind.kind != "c" and set(kind.names or ()) != {"r", "i"}:
        raise BadRawFile(f"visdata are of type {kind}, not complex")
    for name in ("flags", "nsamples"):
        if data[name].shape != shape:
            raise BadRawFile(f"{name} have the shape {data[name].shape}, visdata {shape}")
    for name, size in (("Nblts", shape[0]), ("Nfreqs", shape[-2]), ("Npols", shape[-1])):
        if first_number(header, name) != size:
            raise BadRawFile(f"{name} is {first_number(header, name):g}, but visdata have the shape {shape}")
    if header["uvw_array"].shape != (shape[0], 3):
        raise BadRawFile(f"uvw_array has the shape {header['uvw_array'].shape} for {shape[0]} rows")
    return shape


def _read_times(header: h5py.Group, n_rows: int, *, is_dsa: bool) -> tuple[float, int, float]:
    """Return the first time (JD), the number of times and the integration time in seconds."""
    times_jd = np.unique(numbers(header, "time_array", n_rows))
    first_mjd, last_mjd = earth_orientation_range_mjd()
    if times_jd[0] - JD_OF_MJD_0 < first_mjd or times_jd[-1] - JD_OF_MJD_0 > last_mjd:
        raise BadRawFile(
            f"time_array runs from MJD {times_jd[0] - JD_OF_MJD_0:.10g} to {times_jd[-1] - JD_OF_MJD_0:.10g}; the "
            f"Earth's rotation is known from {first_mjd:.0f} to {last_mjd:.0f} (package astropy-iers-data)"
        )
    integrations_sec = numbers(header, "integration_time")
    if len(integrations_sec) not in (1, n_rows):
        raise BadRawFile(f"integration_time has {len(integrations_sec)} values for {n_rows} rows")
    shortest_sec, longest_sec = float(integrations_sec.min()), float(integrations_sec.max())
    if not 0 < shortest_sec <= longest_sec <= _LONGEST_INTEGRATION_SEC:
        raise BadRawFile(f"integration_time is {shortest_sec:g} to {longest_sec:g} s")
    if is_dsa and longest_sec > shortest_sec * (1 + _SPACING_TOLERANCE):
        raise BadRawFile(f"integration_time varies from {shortest_sec:g} to {longest_sec:g} s")
    integration_time_sec = float(np.median(integrations_sec))
    if is_dsa and len(times_jd) > 1:
        spacing_sec = float(np.median(np.diff(times_jd))) * 86_400
        if abs(spacing_sec / integration_time_sec - 1) > _SPACING_TOLERANCE:
            raise BadRawFile(f"integration_time is {integration_time_sec:g} s, but times are {spacing_sec:g} s apart")
    return float(times_jd[0]), len(times_jd), integration_time_sec


def _read_spectrum(header: h5py.Group, n_channels: int) -> tuple[NDArray[np.float64], float]:
    """Return the ascending frequencies and their spacing in Hz."""
    freqs_hz = np.sort(numbers(header, "freq_array", n_channels))
    if freqs_hz[0] < _FREQ_RANGE_HZ[0] or freqs_hz[-1] > _FREQ_RANGE_HZ[1]:
        raise BadRawFile(f"freq_array runs from {freqs_hz[0]:g} to {freqs_hz[-1]:g} Hz")
    widths_hz = np.abs(numbers(header, "channel_width"))
    if len(widths_hz) not in (1, n_channels) or not (widths_hz > 0).all():
        raise BadRawFile("channel_width must be one positive number, or one a channel")
    if n_channels == 1:
        return freqs_hz, float(widths_hz[0])
    width_hz = float(freqs_hz[-1] - freqs_hz[0]) / (n_channels - 1)
    even_hz = freqs_hz[0] + width_hz * np.arange(n_channels)
    if not width_hz or float(np.abs(freqs_hz - even_hz).max()) > GRID_TOLERANCE * width_hz:
        raise BadRawFile("the channels of freq_array are not evenly spaced")
    return freqs_hz, width_hz


def _read_antennas(header: h5py.Group) -> tuple[tuple[int, ...], tuple[str, ...], NDArray[np.float64]]:
    """Return numbers, names and positions of the antennas, as the header lists them."""
    count = int(first_number(header, "Nants_telescope"))
    antenna_numbers = tuple(int(number) for number in numbers(header, "antenna_numbers", count))
    if len(set(antenna_numbers)) != count or min(antenna_numbers) < 0:
        raise BadRawFile("antenna_numbers are negative or repeat themselves")
    names: Any = np.ravel(header["antenna_names"][()])
    if len(names) != count:
        raise BadRawFile(f"antenna_names has {len(names)} entries for {count} antennas")
    positions_m = numbers(header, "antenna_positions", 3 * count).reshape(-1, 3)
    return antenna_numbers, tuple(text(name) for name in names), positions_m


def _check_baselines(header: h5py.Group, n_rows: int, antenna_numbers: tuple[int, ...]) -> None:
    """Raise BadRawFile unless each row is of two known antennas and no other row of the same time."""
    first = numbers(header, "ant_1_array", n_rows).astype(np.int64)
    second = numbers(header, "ant_2_array", n_rows).astype(np.int64)
    unknown = np.setdiff1d(np.union1d(first, second), np.array(antenna_numbers))
    if len(unknown):
        raise BadRawFile(f"there are data of antenna {unknown[0]}, which antenna_numbers does not list")
    _, times = np.unique(numbers(header, "time_array", n_rows), return_inverse=True)
    span = max(antenna_numbers) + 1
    keys = (times.astype(np.int64) * span + np.minimum(first, second)) * span + np.maximum(first, second)
    if len(np.unique(keys)) != n_rows:
        raise BadRawFile("a baseline is there twice at the same time")
