"""The raw subbands of a tile, one after another, with the spectrum and the geometry that they share.

The next file is read by a thread into the buffers of the one before the present, so that reading and computing go on at
the same time and no memory is asked for twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pyuvdata import UVData

from pipeline_app.casa.subband import (
    PhaseCentre,
    common_centre,
    pointing_declination_deg,
    read_subband,
    rephase,
    set_differential_uvw,
)
from pipeline_app.ingest import header as raw_header
from pipeline_app.ingest.header import GRID_TOLERANCE, BadRawFile, RawHeader
from pipeline_app.ingest.tile import differences
from pipeline_app.telescope import CHANNEL_WIDTH_HZ, CHANNELS_PER_SUBBAND, N_SUBBANDS, subband_freqs_hz
from tasks_app.engine.handler import InvalidInput

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


PARALLEL_HANDS = (-1, -2, -5, -6)
"""Codes of RR, LL, XX, YY on the polarisation axis of a raw file (AIPS memo 117)."""


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """Where the cross-correlations of a tile are in one file; see `stream_kernels`."""

    rows: NDArray[np.int64]
    swapped: NDArray[np.bool_]


@dataclass(kw_only=True)
class RawTile:
    """A tile before any data are read: one row for each baseline and time of the file with most rows."""

    headers: tuple[RawHeader, ...]
    spectrum: Spectrum
    metadata: UVData
    """Rows are the cross-correlations, antenna 1 < antenna 2, phased to `centre`, uvw final; no data."""
    centre: PhaseCentre
    declination_deg: float
    """Apparent, of the pointing."""
    first: NDArray[np.int64]
    """(n_baselines,) indices into `antenna_numbers`."""
    second: NDArray[np.int64]
    antenna_numbers: NDArray[np.int64]
    antenna_names: tuple[str, ...]
    times_jd: NDArray[np.float64]
    target_row: NDArray[np.int64]
    """(n_baselines, n_times) into the rows of `metadata`, -1 where there is none."""
    w_change_m: NDArray[np.float64]
    """(n_baselines, n_times), from the phase centre that the raw data have to `centre`."""
    hands: NDArray[np.int64]
    """Indices of the parallel hands on the files' polarisation axis."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RawSubband:
    """One file's data; the arrays are overwritten two files later."""

    index: int
    """Into the tile's headers."""
    data: NDArray[np.complex64]
    bad: NDArray[np.bool_]
    """Flagged in the file, or without a sample."""
    freqs_hz: NDArray[np.float64]
    """In the order of the file."""
    channels: NDArray[np.int64]
    """Of the tile's spectrum, in the order of the file."""
    rows: RawRows


def open_tile(paths: Sequence[str | Path]) -> RawTile:
    """Read the headers of the subband files of one tile.

    Raises:
        InvalidInput: a file is missing or unreadable, or the files are not subbands of one tile.
    """
    unique = sorted({Path(path) for path in paths})
    headers = tuple(sorted((read_header(path) for path in unique), key=lambda header: float(header.freqs_hz[0])))
    spectrum = plan_spectrum(headers)
    fullest = max(headers, key=lambda header: header.n_rows)
    metadata = _read_metadata(fullest)
    hands = [index for index, code in enumerate(metadata.polarization_array) if int(code) in PARALLEL_HANDS]
    if not hands:
        raise InvalidInput(f"{fullest.path.name} has no parallel-hand polarisation")
    metadata.polarization_array = metadata.polarization_array[hands]
    metadata.Npols = len(hands)
    centre = common_centre(metadata)
    declination_deg = pointing_declination_deg(metadata)
    w_change_m = rephase(metadata, centre)
    set_differential_uvw(metadata, centre)
    if declination_deg is None:
        declination_deg = float(np.degrees(np.median(metadata.phase_center_app_dec)))
    return _index_rows(
        metadata,
        w_change_m,
        headers=headers,
        spectrum=spectrum,
        centre=centre,
        declination_deg=declination_deg,
        hands=np.array(hands, dtype=np.int64),
    )


def _read_metadata(header: RawHeader) -> UVData:
    """Return the cross-correlations' metadata, with antenna 1 < antenna 2 and rows by time and baseline."""
    tile = read_subband(header, read_data=False)
    cross = np.flatnonzero(tile.ant_1_array != tile.ant_2_array)
    if not len(cross):
        raise InvalidInput(f"{header.path.name} has no cross-correlations")
    lower = np.minimum(tile.ant_1_array, tile.ant_2_array)[cross]
    upper = np.maximum(tile.ant_1_array, tile.ant_2_array)[cross]
    order = np.lexsort((upper, lower, tile.time_array[cross]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tile.select(blt_inds=cross[order], run_check=False)
    tile.ant_1_array, tile.ant_2_array = lower[order], upper[order]
    tile.baseline_array = tile.antnums_to_baseline(tile.ant_1_array, tile.ant_2_array)
    tile.Nbls = len(np.unique(tile.baseline_array))
    return tile


def _index_rows(metadata: UVData, w_change_m: NDArray[np.float64], **known: object) -> RawTile:
    numbers = np.union1d(metadata.ant_1_array, metadata.ant_2_array)
    first, second = np.searchsorted(numbers, metadata.ant_1_array), np.searchsorted(numbers, metadata.ant_2_array)
    pair, baseline = np.unique(first * len(numbers) + second, return_inverse=True)
    times_jd, time = np.unique(metadata.time_array, return_inverse=True)
    target = np.full((len(pair), len(times_jd)), -1, dtype=np.int64)
    target[baseline, time] = np.arange(metadata.Nblts)
    if np.count_nonzero(target >= 0) != metadata.Nblts:
        raise InvalidInput(f"{known['headers'][0].path.name} repeats a baseline at the same time")  # type: ignore[index]
    change_m = np.zeros(target.shape)
    change_m[baseline, time] = w_change_m
    names = dict(zip(metadata.telescope.antenna_numbers, metadata.telescope.antenna_names, strict=True))
    return RawTile(
        metadata=metadata,
        first=pair // len(numbers),
        second=pair % len(numbers),
        antenna_numbers=numbers,
        antenna_names=tuple(str(names[number]) for number in numbers),
        times_jd=times_jd,
        target_row=target,
        w_change_m=change_m,
        **known,  # type: ignore[arg-type]
    )


def read_subbands(tile: RawTile) -> Iterator[RawSubband]:
    """Yield the subbands in order of frequency, the next being read meanwhile.

    Raises:
        InvalidInput: a file cannot be read, or is not of the tile; the message has its name.
    """
    buffers: list[dict[str, NDArray]] = [{}, {}]
    known: dict[bytes, RawRows] = {}
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(_read, tile, 0, buffers[0], known)
        for index in range(len(tile.headers)):
            subband = pending.result()
            if index + 1 < len(tile.headers):
                pending = reader.submit(_read, tile, index + 1, buffers[(index + 1) % 2], known)
            yield subband


def _read(tile: RawTile, index: int, buffers: dict[str, NDArray], known: dict[bytes, RawRows]) -> RawSubband:
    header = tile.headers[index]
    try:
        with h5py.File(header.path) as file:
            data = _into(buffers, "data", file["Data/visdata"], np.complex64)
            bad = _into(buffers, "flags", file["Data/flags"], np.bool_)
            samples = _into(buffers, "nsamples", file["Data/nsamples"], np.float32)
            freqs_hz = np.ravel(file["Header/freq_array"][()]).astype(float)
            table = np.stack(
                [file[f"Header/{name}"][()].astype(float) for name in ("time_array", "ant_1_array", "ant_2_array")]
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InvalidInput(f"{header.path} is not a readable UVH5 file: {error}") from error
    bad |= samples == 0  # exactly none; some writers put meaningless numbers there, but not this one
    key = table.tobytes()
    if key not in known:
        known[key] = _rows_of(tile, header, table)
    slot = np.arange(tile.spectrum.slots[index].start, tile.spectrum.slots[index].stop)
    ascending = len(freqs_hz) < 2 or freqs_hz[0] < freqs_hz[-1]
    return RawSubband(
        index=index,
        data=data,
        bad=bad,
        freqs_hz=freqs_hz,
        channels=slot if ascending else slot[::-1].copy(),
        rows=known[key],
    )


def _into(buffers: dict[str, NDArray], name: str, dataset: h5py.Dataset, dtype: type) -> NDArray:
    """Read a dataset into the buffer of that name, which is made where it does not fit; always four axes."""
    shape = dataset.shape if len(dataset.shape) == 4 else (dataset.shape[0], 1, *dataset.shape[1:])
    if name not in buffers or buffers[name].shape != shape:
        buffers[name] = np.empty(shape, dtype=dtype)
    dataset.read_direct(buffers[name].reshape(dataset.shape))
    return buffers[name]


def _rows_of(tile: RawTile, header: RawHeader, table: NDArray[np.float64]) -> RawRows:
    """Match a file's rows (time, antenna 1, antenna 2) to the tile's baselines and times."""
    times_jd, numbers = tile.times_jd, tile.antenna_numbers
    spacing_days = header.integration_time_sec / 86400
    time = np.abs(table[0][:, None] - times_jd).argmin(axis=1)
    on_time = np.abs(times_jd[time] - table[0]) < spacing_days / 4
    ends = [np.minimum(np.searchsorted(numbers, ends), len(numbers) - 1) for ends in table[1:].astype(np.int64)]
    known = on_time & np.logical_and(*(numbers[end] == ends for end, ends in zip(ends, table[1:], strict=True)))
    pair = np.minimum(*ends) * len(numbers) + np.maximum(*ends)
    pairs = tile.first * len(numbers) + tile.second
    baseline = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
    cross = ends[0] != ends[1]
    mine = np.flatnonzero(known & cross & (pairs[baseline] == pair))
    rows = np.full(tile.target_row.shape, -1, dtype=np.int64)
    rows[baseline[mine], time[mine]] = mine
    rows[tile.target_row < 0] = -1
    found = int(np.count_nonzero(rows >= 0))
    if found < len(mine):
        raise InvalidInput(f"{header.path.name} repeats a baseline at the same time")
    unmatched = int(np.count_nonzero(~known | (cross & (pairs[baseline] != pair))))
    if unmatched:
        tile.warnings.append(f"{header.path.name}: {unmatched} rows of no other subband, left out")
    if missing := tile.metadata.Nblts - found:
        tile.warnings.append(f"{header.path.name}: {missing} rows missing, flagged")
    swapped = np.zeros(rows.shape, dtype=np.bool_)
    swapped[baseline[mine], time[mine]] = ends[0][mine] > ends[1][mine]
    return RawRows(rows=rows, swapped=swapped)
