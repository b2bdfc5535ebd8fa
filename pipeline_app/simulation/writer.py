"""Raw subband files with the layout and the oddities of the DSA-110 correlator's writer (dsa110-meridian-fs).

The oddities: the phase type says `drift` though fringes are stopped at hour angle 0; uvw are float32, the same at every
integration, with u and v in axes turned by 0.06 degrees; frequencies descend; the header lists all stations, not only
those with data; names carry each host's own clock; a file is written under an `_incomplete` name and then renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline_app.naming import RawName
from pipeline_app.simulation.visibilities import Baselines
from pipeline_app.telescope import (
    DISH_DIAMETER_M,
    HEIGHT_M,
    LATITUDE_DEG,
    LONGITUDE_DEG,
    TELESCOPE_NAME,
    Station,
    array_itrf_m,
    stations,
)

_UV_ROTATION_DEG = 0.06
_XX_YY = (-5, -6)


@dataclass(frozen=True, kw_only=True)
class TileHeader:
    """What the headers of all subbands of a tile share."""

    pads: tuple[Station, ...]
    baselines: Baselines
    times_jd: NDArray[np.float64]
    integration_time_sec: float
    declination_deg: float


def meridian_uvw_m(vectors_m: NDArray, declination_deg: float) -> NDArray[np.float64]:
    """Return (u, v, w) in metres towards hour angle 0 at a declination, shape (n_baselines, 3)."""
    longitude, declination = np.radians([LONGITUDE_DEG, declination_deg])
    outward = vectors_m[:, 0] * np.cos(longitude) + vectors_m[:, 1] * np.sin(longitude)
    east = -vectors_m[:, 0] * np.sin(longitude) + vectors_m[:, 1] * np.cos(longitude)
    north = vectors_m[:, 2]
    v = -np.sin(declination) * outward + np.cos(declination) * north
    w = np.cos(declination) * outward + np.sin(declination) * north
    return np.stack([east, v, w], axis=-1)


def write_subband(
    directory: Path,
    header: TileHeader,
    *,
    subband: int,
    host_time: datetime,
    freqs_hz: NDArray[np.float64],
    channel_width_hz: float,
    visibilities: NDArray[np.complex64],
    lost_times: Sequence[int] = (),
) -> Path:
    """Write one file and return its path.

    Args:
        subband: 0..15, for the name only.
        host_time: the writing host's clock.
        freqs_hz: descending, shape (n_channels,).
        channel_width_hz: positive.
        visibilities: shape (n_times, n_baselines, n_channels, 2).
        lost_times: integrations of which nothing was received, by `nsamples`.
    """
    final = directory / str(RawName(host_time=host_time, subband=subband))
    partial = directory / str(RawName(host_time=host_time, subband=subband, incomplete=True))
    n_times, n_baselines, n_channels, n_polarizations = visibilities.shape
    layout = (n_times * n_baselines, 1, n_channels, n_polarizations)
    with h5py.File(partial, "w") as file:
        group = file.create_group("Header")
        _write_telescope(group)
        _write_rows(group, header)
        _write_spectrum(group, freqs_hz, channel_width_hz, n_polarizations)
        _write_pointing(group, header)
        data = file.create_group("Data")
        data["visdata"] = visibilities.reshape(layout)
        data["flags"] = np.zeros(layout, dtype=bool)
        nsamples = np.ones((n_times, n_baselines, n_channels, n_polarizations), dtype=np.float32)
        nsamples[list(lost_times)] = 0
        data["nsamples"] = nsamples.reshape(layout)
    return partial.rename(final)


def _write_telescope(group: h5py.Group) -> None:
    pads = stations()
    group["latitude"] = LATITUDE_DEG
    group["longitude"] = LONGITUDE_DEG
    group["altitude"] = HEIGHT_M
    group["telescope_name"] = np.bytes_(TELESCOPE_NAME)
    group["instrument"] = np.bytes_("DSA")
    group["object_name"] = np.bytes_("search")
    group["history"] = np.bytes_("simulated")
    group["Nants_telescope"] = len(pads)
    group["antenna_diameters"] = np.full(len(pads), DISH_DIAMETER_M)
    group["antenna_names"] = np.array([str(pad.number) for pad in pads], dtype="S3")
    group["antenna_numbers"] = np.array([pad.number - 1 for pad in pads])
    group["antenna_positions"] = np.array([pad.itrf_m for pad in pads]) - array_itrf_m()


def _write_rows(group: h5py.Group, header: TileHeader) -> None:
    numbers = np.array([pad.number - 1 for pad in header.pads])
    n_times, n_baselines = len(header.times_jd), len(header.baselines.first)
    u, v, w = meridian_uvw_m(header.baselines.vectors_m, header.declination_deg).T
    cosine, sine = np.cos(np.radians(_UV_ROTATION_DEG)), np.sin(np.radians(_UV_ROTATION_DEG))
    uvw = np.stack([cosine * u - sine * v, sine * u + cosine * v, w], axis=-1).astype(np.float32)
    group["Nants_data"] = len(numbers)
    group["Nbls"] = n_baselines
    group["Nblts"] = n_times * n_baselines
    group["Ntimes"] = n_times
    group["ant_1_array"] = np.tile(numbers[header.baselines.first], n_times)
    group["ant_2_array"] = np.tile(numbers[header.baselines.second], n_times)
    group["uvw_array"] = np.tile(uvw, (n_times, 1))
    group["time_array"] = np.repeat(header.times_jd, n_baselines)
    group["integration_time"] = np.full(n_times * n_baselines, header.integration_time_sec)


def _write_spectrum(group: h5py.Group, freqs_hz: NDArray, channel_width_hz: float, n_polarizations: int) -> None:
    group["Nfreqs"] = len(freqs_hz)
    group["Npols"] = n_polarizations
    group["Nspws"] = 1
    group["spw_array"] = np.array([1])
    group["freq_array"] = freqs_hz[None, :]
    group["channel_width"] = channel_width_hz
    group["polarization_array"] = np.array(_XX_YY[:n_polarizations])


def _write_pointing(group: h5py.Group, header: TileHeader) -> None:
    declination_rad = float(np.radians(header.declination_deg))
    group["phase_type"] = np.bytes_("drift")
    group["phase_center_app_dec"] = declination_rad
    extra = group.create_group("extra_keywords")
    extra["phase_center_dec"] = declination_rad
    extra["ha_phase_center"] = 0.0
    extra["phase_center_epoch"] = np.bytes_("HADEC")
    extra["applied_delays_ns"] = np.bytes_(" ".join(["0"] * (2 * len(stations()))))
