"""Raw UVH5 subband files: their headers, and the one spectrum that a tile's files form together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.ingest import header as raw_header
from pipeline_app.ingest.header import GRID_TOLERANCE, BadRawFile, RawHeader
from pipeline_app.ingest.tile import differences
from pipeline_app.telescope import CHANNEL_WIDTH_HZ, CHANNELS_PER_SUBBAND, N_SUBBANDS, subband_freqs_hz
from tasks_app.engine.handler import InvalidInput

__all__ = ["RawHeader", "Spectrum", "plan_spectrum", "read_header"]

MAX_GAP_CHANNELS = 4096


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
    """Read and check a file's header, as the ingest does.

    Raises:
        InvalidInput: the file is missing, not HDF5, lacks a part of a UVH5 file, or contradicts itself.
    """
    try:
        return raw_header.read_header(path)
    except BadRawFile as fault:
        raise InvalidInput(f"{path}: {fault}") from fault


def plan_spectrum(headers: Sequence[RawHeader]) -> Spectrum:
    """Fit the files of a tile into one spectrum.

    For the DSA-110 it is the correlator's whole band, so that tiles with a subband missing still match the calibration
    of those without. For others, and for files off the correlator's grid, it runs from lowest to highest channel.

    Raises:
        InvalidInput: files overlap, are off one grid, or differ in what `uvh5_tile.differences` compares.
    """
    first = headers[0]
    for other in headers[1:]:
        if unlike := list(differences(first, other)):
            raise InvalidInput(f"{other.path.name} is not of one tile with {first.path.name}: {'; '.join(unlike)}")
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
        channel_width_hz=float(np.median(np.diff(freqs_hz))) if len(freqs_hz) > 1 else first.channel_width_hz,
        slots=tuple(slot for slot in slots if slot is not None),
        missing_subbands=_missing(filled, len(first.freqs_hz), descending=first.is_dsa),
    )


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
    return slice(start, stop) if off_hz <= GRID_TOLERANCE * header.channel_width_hz else None


def _missing(filled: NDArray[np.bool_], channels: int, *, descending: bool) -> tuple[int, ...]:
    ordered = filled[::-1] if descending else filled
    starts = range(0, len(ordered), channels)
    return tuple(index for index, start in enumerate(starts) if not ordered[start : start + channels].any())
