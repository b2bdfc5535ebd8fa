"""Raw UVH5 subband files: their headers, and the one spectrum that a tile's files form together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline_app.telescope import (
    CHANNEL_WIDTH_HZ,
    CHANNELS_PER_SUBBAND,
    DSA_NAMES,
    N_SUBBANDS,
    subband_freqs_hz,
)
from tasks_app.handler import InvalidInput

_GRID_TOLERANCE = 0.01
"""Of a channel width."""
MAX_GAP_CHANNELS = 4096


@dataclass(frozen=True, kw_only=True)
class RawHeader:
    """The part of a file's header that decides how the files of a tile fit together."""

    path: Path
    telescope_name: str
    freqs_hz: NDArray[np.float64]
    """Ascending, whatever the order in the file."""
    channel_width_hz: float
    """Spacing of the channels; of a single channel, its width."""
    n_rows: int
    n_polarizations: int
    first_time_jd: float
    integration_time_sec: float

    @property
    def is_dsa(self) -> bool:
        """Whether the DSA-110 wrote it."""
        return self.telescope_name in DSA_NAMES


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The evenly spaced channels of a whole tile and where each file's channels lie among them."""

    freqs_hz: NDArray[np.float64]
    channel_width_hz: float
    slots: tuple[slice, ...]
    """For each header, in the order given."""
    missing_subbands: tuple[int, ...]
    """Numbers of subbands that no file fills: the correlator's for the DSA-110, else from the lowest frequency."""


def read_header(path: Path) -> RawHeader:
    """Read what `RawHeader` holds.

    Raises:
        InvalidInput: the file is missing, not HDF5, or lacks a part of a UVH5 file.
    """
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    try:
        with h5py.File(path) as file:
            return _read_header(path, file)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InvalidInput(f"{path} is not a readable UVH5 file: {error}") from error


def _read_header(path: Path, file: h5py.File) -> RawHeader:
    header = file["Header"]
    freqs_hz = np.sort(np.ravel(header["freq_array"][()]).astype(float))
    widths_hz = np.abs(np.ravel(header["channel_width"][()]).astype(float))
    name = header["telescope_name"][()]
    shape = file["Data"]["visdata"].shape
    n_rows = int(header["Nblts"][()])
    if not len(freqs_hz) or not n_rows or shape[0] != n_rows or shape[-2] != len(freqs_hz):
        raise ValueError(f"data of shape {shape} for {n_rows} rows and {len(freqs_hz)} channels")
    return RawHeader(
        path=path,
        telescope_name=name.decode() if isinstance(name, bytes) else str(name),
        freqs_hz=freqs_hz,
        channel_width_hz=float(np.median(np.diff(freqs_hz))) if len(freqs_hz) > 1 else float(widths_hz[0]),
        n_rows=n_rows,
        n_polarizations=int(shape[-1]),
        first_time_jd=float(np.min(header["time_array"][()])),
        integration_time_sec=float(np.ravel(header["integration_time"][()])[0]),
    )


def plan_spectrum(headers: Sequence[RawHeader]) -> Spectrum:
    """Fit the files of a tile into one spectrum.

    For the DSA-110 it is the correlator's whole band, so that tiles with a subband missing still match the calibration
    of those without. For others, and for files off the correlator's grid, it runs from lowest to highest channel.

    Raises:
        InvalidInput: files overlap, differ in telescope, time, polarisations or channel width, or are off one grid.
    """
    first = headers[0]
    for other in headers[1:]:
        _refuse_strangers(first, other)
    freqs_hz = _correlator_grid(headers)
    if freqs_hz is None:
        freqs_hz = _spanning_grid(headers)
    slots = tuple(_slot(header, freqs_hz) for header in headers)
    filled = np.zeros(len(freqs_hz), dtype=bool)
    for slot, header in zip(slots, headers, strict=True):
        if slot is None:
            raise InvalidInput(f"{header.path.name} has channels off the frequency grid of its tile")
        if filled[slot].any():
            raise InvalidInput(f"{header.path.name} repeats frequencies of another file: is it of the same tile?")
        filled[slot] = True
    return Spectrum(
        freqs_hz=freqs_hz,
        channel_width_hz=first.channel_width_hz,
        slots=tuple(slot for slot in slots if slot is not None),
        missing_subbands=_missing(filled, len(first.freqs_hz), descending=first.is_dsa),
    )


def _refuse_strangers(first: RawHeader, other: RawHeader) -> None:
    """Raise InvalidInput unless both files are of one tile."""
    if other.telescope_name != first.telescope_name:
        raise InvalidInput(
            f"{other.path.name} is of {other.telescope_name}, {first.path.name} of {first.telescope_name}"
        )
    if abs(other.first_time_jd - first.first_time_jd) * 86400 > first.integration_time_sec / 2:
        raise InvalidInput(f"{other.path.name} starts at another time than {first.path.name}: they are not one tile")
    if other.n_polarizations != first.n_polarizations:
        raise InvalidInput(f"{other.path.name} and {first.path.name} differ in polarisations")
    if abs(other.channel_width_hz / first.channel_width_hz - 1) > 1e-6:
        raise InvalidInput(f"{other.path.name} and {first.path.name} differ in channel width")


def _correlator_grid(headers: Sequence[RawHeader]) -> NDArray[np.float64] | None:
    """Return the DSA-110's whole band at the files' channel width, or None when they do not fit into it."""
    channels = round(CHANNELS_PER_SUBBAND * CHANNEL_WIDTH_HZ / headers[0].channel_width_hz)
    if not headers[0].is_dsa or channels < 1 or CHANNELS_PER_SUBBAND % channels:
        return None
    grid_hz = np.sort(np.concatenate([subband_freqs_hz(k, channels) for k in range(N_SUBBANDS)]))
    return grid_hz if all(_slot(header, grid_hz) for header in headers) else None


def _spanning_grid(headers: Sequence[RawHeader]) -> NDArray[np.float64]:
    width_hz = headers[0].channel_width_hz
    lowest_hz = min(header.freqs_hz[0] for header in headers)
    count = round((max(header.freqs_hz[-1] for header in headers) - lowest_hz) / width_hz) + 1
    held = sum(len(header.freqs_hz) for header in headers)
    if count > held + MAX_GAP_CHANNELS:
        raise InvalidInput(f"the files leave {count - held} channels empty between them: they are not one tile")
    return lowest_hz + width_hz * np.arange(count)


def _slot(header: RawHeader, freqs_hz: NDArray[np.float64]) -> slice | None:
    """Return where the file's channels lie on the grid, or None when they lie off it."""
    start = round((header.freqs_hz[0] - freqs_hz[0]) / header.channel_width_hz)
    stop = start + len(header.freqs_hz)
    if start < 0 or stop > len(freqs_hz):
        return None
    off_hz = np.abs(freqs_hz[start:stop] - header.freqs_hz).max()
    return slice(start, stop) if off_hz <= _GRID_TOLERANCE * header.channel_width_hz else None


def _missing(filled: NDArray[np.bool_], channels: int, *, descending: bool) -> tuple[int, ...]:
    ordered = filled[::-1] if descending else filled
    starts = range(0, len(ordered), channels)
    return tuple(index for index, start in enumerate(starts) if not ordered[start : start + channels].any())
