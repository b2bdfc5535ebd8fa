"""Handler of `convert-uvh5-to-ms`: the raw subband files of one tile into one Measurement Set.

Conventions of the result:

- one spectral window, channels ascending and evenly spaced; channels of a missing subband are there, flagged;
- one field: the meridian at mid-time and the pointing's declination, ICRS (for files of other telescopes, their own
  phase centre); uvw computed from the antenna positions such that image offsets are ICRS offsets;
- antennas numbered from 0 in the order of the raw numbers, only those with data, names as in the raw header; each row
  has ANTENNA1 <= ANTENNA2;
- pyuvdata turns both the baselines' sign and the data's phase when it writes, so a raw V_12 = g_1 conj(g_2) S is stored
  as its conjugate: the gains that CASA solves for are the conjugates of those in raw visibilities, and
  V_12 = G_1 conj(G_2) S holds with G = conj(g);
- DATA are uncalibrated; every weight is positive; NaN, infinities, absurdly large values and exact zeros are flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import numpy as np
from astropy.time import Time
from numpy.typing import NDArray
from pyuvdata import UVData
from pyuvdata.utils.pol import reorder_conj_pols

from pipeline_app.casa.cube_kernels import place
from pipeline_app.casa.measures import known_observatories
from pipeline_app.casa.ms_writer import check_measurement_set, describe_array, set_channels, write_measurement_set
from pipeline_app.casa.raw import RawHeader, Spectrum, plan_spectrum, read_header
from pipeline_app.casa.reporting import steadily
from pipeline_app.casa.stream_report import Repairs
from pipeline_app.casa.subband import (
    PhaseCentre,
    common_centre,
    garbage_limits,
    mid_time,
    pointing_declination_deg,
    read_subband,
    rephase,
    set_differential_uvw,
    start_time,
)
from pipeline_app.casa.threads import in_parts
from pipeline_app.naming import tile_name
from pipeline_app.quality import assess
from pipeline_app.stages.convert import ConvertParams, ConvertResult
from pipeline_app.telescope import DSA_NAMES, array_itrf_m
from pipeline_app.verdicts import CONVERSION_NAME, VerdictRecord, inherit, write_record
from tasks_app.engine.handler import Context, InvalidInput

_PHASING_STARTS = 0.7
_WRITING_STARTS = 0.75
_CHECKING_STARTS = 0.95
_MAX_SITE_ERROR_M = 1.0


@dataclass(kw_only=True)
class _Assembly:
    """A tile being put together from its subbands."""

    whole: UVData
    """Has the rows, antennas and metadata of the tile, and room for all its channels."""
    centre: PhaseCentre
    declination_deg: float
    row_keys: NDArray[np.int64]
    w_change_m: NDArray[np.float64]
    """From the phase centre of the raw data to the common one, by row."""
    repairs: Repairs = field(default_factory=Repairs)
    warnings: list[str] = field(default_factory=list)


@steadily
def run(params: ConvertParams, context: Context) -> ConvertResult:
    """Convert, validate and declare the Measurement Set.

    Raises:
        InvalidInput: a file is missing or unreadable, or the files are not subbands of one tile.
    """
    paths = sorted({Path(path) for path in params.paths})
    headers = sorted((read_header(path) for path in paths), key=lambda header: float(header.freqs_hz[0]))
    spectrum = plan_spectrum(headers)
    assembly = _assemble(headers, spectrum, context)

    context.progress(_PHASING_STARTS, "computing uvw")
    set_differential_uvw(assembly.whole, assembly.centre)

    start = start_time(assembly.whole)
    name = params.name or tile_name(start.to_datetime(timezone=UTC))
    ms_path = context.output(f"{name}.ms")
    context.progress(_WRITING_STARTS, "writing the Measurement Set")
    describe_array(assembly.whole)
    write_measurement_set(assembly.whole, ms_path, declination_deg=assembly.declination_deg)
    context.progress(_CHECKING_STARTS, "checking what was written")
    check_measurement_set(ms_path, assembly.whole, assembly.centre)

    own = assess((), [*assembly.warnings, *assembly.repairs.reasons(headers, spectrum)])
    record = inherit("convert-uvh5-to-ms", own, [])
    write_record(ms_path, record, CONVERSION_NAME)
    result = _result(
        assembly, spectrum, record, n_subbands=len(headers), name=name, ms_path=context.published(ms_path), start=start
    )
    context.product(
        "ms",
        ms_path,
        metrics=result.model_dump(exclude={"ms_path", "verdict"}),
        verdict=result.verdict,
        inputs=[str(header.path) for header in headers],
    )
    context.progress(1.0, f"{result.n_antennas} antennas, {result.n_times} times, {result.n_channels} channels")
    return result


def _assemble(headers: Sequence[RawHeader], spectrum: Spectrum, context: Context) -> _Assembly:
    """Read and rephase the subbands, the one with most rows first: it sets the rows of the tile."""
    order = sorted(range(len(headers)), key=lambda i: (-headers[i].n_rows, i))
    assembly: _Assembly | None = None
    for done, index in enumerate(order):
        header = headers[index]
        context.progress(_PHASING_STARTS * done / len(order), f"reading {header.path.name}")
        subband = read_subband(header)
        if assembly is None:
            assembly = _begin(subband, spectrum)
        _refuse_other_pointing(header, subband, assembly)
        _insert(subband, header, spectrum.slots[index], assembly)
    if assembly is None:
        raise InvalidInput("no files to convert")
    return assembly


def _begin(subband: UVData, spectrum: Spectrum) -> _Assembly:
    """Make the empty tile: everything flagged until a subband fills it."""
    centre = common_centre(subband)
    declination_deg = pointing_declination_deg(subband)
    whole = subband.copy(metadata_only=True)
    whole.conjugate_bls("ant1<ant2")
    w_change_m = rephase(whole, centre)
    if declination_deg is None:
        declination_deg = float(np.degrees(np.median(whole.phase_center_app_dec)))
    n_channels = len(spectrum.freqs_hz)
    shape = (whole.Nblts, n_channels, whole.Npols)
    set_channels(whole, spectrum.freqs_hz, spectrum.channel_width_hz)
    whole.data_array = np.zeros(shape, dtype=np.complex64)
    whole.flag_array = np.ones(shape, dtype=bool)
    whole.nsample_array = np.ones(shape, dtype=np.float32)
    assembly = _Assembly(
        whole=whole,
        centre=centre,
        declination_deg=declination_deg,
        row_keys=_row_keys(whole, whole),
        w_change_m=w_change_m,
    )
    if len(np.unique(assembly.row_keys)) != whole.Nblts:
        raise InvalidInput("the file repeats a baseline at the same time")
    assembly.warnings.extend(_site_warnings(whole))
    return assembly


def _site_warnings(tile: UVData) -> list[str]:
    """Return what is wrong with the site; the header's position is kept: the writer put hour angle 0 there."""
    name, site = tile.telescope.name, tile.telescope.location
    if name not in DSA_NAMES:
        return [] if name in known_observatories() else [f"CASA does not know the telescope {name}"]
    error_m = float(np.linalg.norm([c.to_value("m") for c in (site.x, site.y, site.z)] - array_itrf_m()))
    if error_m <= _MAX_SITE_ERROR_M:
        return []
    return [f"the header's position of the array is {error_m:.1f} m from the surveyed one"]


def _refuse_other_pointing(header: RawHeader, subband: UVData, assembly: _Assembly) -> None:
    declination_deg = pointing_declination_deg(subband)
    if declination_deg is not None and abs(declination_deg - assembly.declination_deg) > 1e-6:
        raise InvalidInput(f"{header.path.name} points to declination {declination_deg:.4f}, others elsewhere")


def _row_keys(tile: UVData, like: UVData) -> NDArray[np.int64]:
    """Number rows by time and baseline, so that the same row of two subbands has the same number."""
    step_days = float(np.median(like.integration_time)) / 86400
    time = np.round((tile.time_array - like.time_array.min()) / step_days * 4).astype(np.int64)
    antennas = int(max(like.telescope.antenna_numbers.max(), tile.telescope.antenna_numbers.max())) + 1
    first, second = tile.ant_1_array, tile.ant_2_array
    return (time * antennas + np.minimum(first, second)) * antennas + np.maximum(first, second)


def _insert(subband: UVData, header: RawHeader, slot: slice, assembly: _Assembly) -> None:
    """Put a subband into its channels, row by row of the same time and baseline; rows it lacks stay flagged."""
    whole = assembly.whole
    if not np.array_equal(subband.polarization_array, whole.polarization_array):
        raise InvalidInput(f"{header.path.name} orders its polarisations differently from the other files")
    keys = _row_keys(subband, whole)
    order = np.argsort(assembly.row_keys)
    nearest = np.minimum(np.searchsorted(assembly.row_keys, keys, sorter=order), len(order) - 1)
    rows = order[nearest]
    known = assembly.row_keys[rows] == keys
    if not known.all():
        assembly.warnings.append(f"{header.path.name}: {np.count_nonzero(~known)} rows of no other subband, left out")
    if known.sum() < whole.Nblts:
        assembly.warnings.append(f"{header.path.name}: {whole.Nblts - known.sum()} rows missing, flagged")
    counts = np.zeros((len(rows), 3), dtype=np.int64)
    in_parts(
        place,
        len(rows),
        np.ascontiguousarray(subband.data_array),
        np.ascontiguousarray(subband.flag_array),
        np.ascontiguousarray(subband.nsample_array, dtype=np.float32),
        garbage_limits(subband),
        subband.ant_1_array > subband.ant_2_array,
        np.argsort(reorder_conj_pols(subband.polarization_array)),
        np.argsort(subband.freq_array),
        np.sort(subband.freq_array),
        assembly.w_change_m[rows],
        np.where(known, rows, -1),
        slot.start,
        whole.data_array,
        whole.flag_array,
        whole.nsample_array,
        counts,
    )
    cross = known & (subband.ant_1_array != subband.ant_2_array)
    baselines = subband.baseline_array
    cross &= np.isin(baselines, baselines[counts[:, 2] > 0])
    n_values = subband.Nfreqs * subband.Npols
    assembly.repairs.add(header, counts[cross, 1] / n_values, n_wild=int(counts[:, 0].sum()))


def _result(
    assembly: _Assembly,
    spectrum: Spectrum,
    record: VerdictRecord,
    *,
    n_subbands: int,
    name: str,
    ms_path: str,
    start: Time,
) -> ConvertResult:
    tile = assembly.whole
    duration_sec = float(np.ptp(tile.time_array)) * 86400 + float(np.median(tile.integration_time))
    return ConvertResult(
        ms_path=ms_path,
        name=name,
        telescope_name=tile.telescope.name,
        n_antennas=int(tile.Nants_data),
        n_baselines=int(tile.Nbls),
        n_times=int(tile.Ntimes),
        n_channels=int(tile.Nfreqs),
        freq_min_hz=float(spectrum.freqs_hz[0]),
        freq_max_hz=float(spectrum.freqs_hz[-1]),
        mid_time_mjd=float(mid_time(tile).mjd),
        start_time_mjd=float(start.mjd),
        duration_sec=duration_sec,
        phase_ra_deg=assembly.centre.ra_deg,
        phase_dec_deg=assembly.centre.dec_deg,
        declination_deg=assembly.declination_deg,
        n_subbands=n_subbands,
        missing_subbands=list(spectrum.missing_subbands),
        flagged_fraction=float(tile.flag_array.mean()),
        nonfinite_or_wild_flagged=assembly.repairs.n_wild,
        verdict=record.verdict,
        reasons=record.all_reasons,
    )
