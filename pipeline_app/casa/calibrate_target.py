"""The `calibrate-target` stage: raw subband files into a calibrated and averaged Measurement Set, in one pass.

Each subband is read once. Its interference is found from power averaged over baselines (`stream_flags`), then one
compiled loop corrects, flags, moves to the common phase centre and averages (`stream_kernels`). What noise is
judged by is summed on the way (`tile_noise`); from it follow, at the end, the weights and the antennas that gave no
sky. Conventions of the result are those of the convert stage: one field, one spectral window, XX and YY, no
autocorrelations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import stream_kernels as kernels
from pipeline_app.casa.measurement_set import open_table
from pipeline_app.casa.ms_writer import check_measurement_set, describe_array, set_channels, write_measurement_set
from pipeline_app.casa.raw import RawSubband, RawTile, open_tile, read_subbands
from pipeline_app.casa.reporting import steadily
from pipeline_app.casa.smearing import Averaging, choose_averaging, sample_as_imaged
from pipeline_app.casa.solutions import (
    GAINS_NPZ,
    Interpolated,
    Match,
    Solutions,
    interpolate,
    match_calibration,
    read_record,
)
from pipeline_app.casa.stream_flags import Block, SubbandFlags, TileSums, antenna_variances, dead_antennas, judge
from pipeline_app.casa.stream_report import StreamReport, Tally, reasons_of
from pipeline_app.casa.subband import mid_time, start_time
from pipeline_app.casa.threads import in_parts
from pipeline_app.naming import tile_name
from pipeline_app.stages.calibrate_target import CalibrateTargetParams, CalibrateTargetResult
from pipeline_app.telescope import DISH_DIAMETER_M
from pipeline_app.verdicts import VerdictRecord, inherit, write_record
from tasks_app.engine.handler import Context, InvalidInput

_CHOOSING_STARTS, _READING_STARTS, _WEIGHING_STARTS, _WRITING_STARTS, _CHECKING_STARTS = 0.05, 0.1, 0.78, 0.8, 0.95
_COHERENCE_BAND_HZ = 2e6
"""Products for the coherence are taken over channels within this, in which sources in the beam hardly turn."""


@dataclass(frozen=True, kw_only=True)
class _Applied:
    """The calibration of a tile."""

    matches: tuple[Match, ...]
    solutions: Solutions
    interpolated: Interpolated | None
    left_out: tuple[str, ...] = ()
    """Why one of two calibrations was not used."""


@dataclass(kw_only=True)
class _Averaged:
    """The averaged tile while it grows."""

    data: NDArray[np.complex64]
    """(n_rows, n_averaged, n_hands)."""
    weights: NDArray[np.float32]
    sums: TileSums
    tally: Tally = field(default_factory=Tally)


@steadily
def run(params: CalibrateTargetParams, context: Context) -> CalibrateTargetResult:
    """Calibrate a tile.

    Raises:
        InvalidInput: a file or a calibration cannot be used, or nothing is left of the data.
    """
    context.progress(0.0, f"reading the headers of {len(params.paths)} files")
    tile = open_tile(params.paths)
    applied = _load_calibration(params, tile)
    context.progress(_CHOOSING_STARTS, "choosing how many channels to average")
    averaging = _choose_averaging(tile, params.max_smearing)
    averaged = _stream(tile, applied.solutions, averaging, context)
    context.progress(_WEIGHING_STARTS, "weighing antennas by their noise")
    dead = _weigh(tile, averaged, applied.solutions)
    name = params.name or tile_name(start_time(tile.metadata).to_datetime(timezone=UTC))
    ms_path = context.output(f"{name}.calibrated.ms")
    context.progress(_WRITING_STARTS, "writing the Measurement Set")
    _write(tile, averaged, averaging, ms_path)
    context.progress(_CHECKING_STARTS, "checking what was written")
    check_measurement_set(ms_path, tile.metadata, tile.centre)
    report = reasons_of(tile, averaged.tally, averaged.weights, dead, applied.solutions, warnings=applied.left_out)
    records = [match.record.as_verdict() for match in applied.matches]
    verdict = inherit("calibrate-target", report.assessment, records)
    write_record(ms_path, verdict)
    result = _result(
        params, tile, applied, averaging, averaged, report, verdict, name=name, ms_path=context.published(ms_path)
    )
    calibrations = [path for path in (params.calibration_path, params.other_calibration_path) if path]
    context.product(
        "calibrated-ms",
        ms_path,
        metrics=result.model_dump(exclude={"ms_path", "calibration_path", "other_calibration_path", "verdict"}),
        verdict=result.verdict,
        inputs=[*(str(header.path) for header in tile.headers), *calibrations],
    )
    context.progress(1.0, f"calibrated: {averaging.channels} channels averaged, {result.flagged_fraction:.1%} flagged")
    return result


def _load_calibration(params: CalibrateTargetParams, tile: RawTile) -> _Applied:
    at_mjd = float(mid_time(tile.metadata).mjd)
    matches, solutions, faults = [], [], []
    for path in (params.calibration_path, params.other_calibration_path):
        if path is None:
            continue
        try:
            record = read_record(Path(path))
            match = match_calibration(record, params, mid_time_mjd=at_mjd, declination_deg=tile.declination_deg)
        except InvalidInput as fault:
            faults.append(fault)
            continue
        matches.append(match)
        spectrum = tile.spectrum
        solutions.append(
            Solutions.load(Path(path) / GAINS_NPZ).onto(
                tile.antenna_names, spectrum.freqs_hz, spectrum.channel_width_hz
            )
        )
    if not solutions:
        raise faults[0]
    left_out = tuple(f"one of two calibrations was left out: {fault}" for fault in faults)
    if solutions[0].gains.shape[1] != len(tile.hands):
        raise InvalidInput(
            f"the calibration has {solutions[0].gains.shape[1]} polarisations,"
            f" the data {len(tile.hands)} parallel hands"
        )
    if len(solutions) == 1:
        return _Applied(matches=tuple(matches), solutions=solutions[0], interpolated=None, left_out=left_out)
    times_mjd = (matches[0].record.mid_time_mjd, matches[1].record.mid_time_mjd)
    interpolated = interpolate(solutions[0], solutions[1], times_mjd=times_mjd, at_mjd=at_mjd)
    return _Applied(matches=tuple(matches), solutions=interpolated.solutions, interpolated=interpolated)


def _choose_averaging(tile: RawTile, max_smearing: float) -> Averaging:
    metadata, spectrum = tile.metadata, tile.spectrum
    sampling = sample_as_imaged(
        metadata.uvw_array,
        spectrum.freqs_hz,
        integration_sec=float(np.median(metadata.integration_time)),
        declination_deg=tile.centre.dec_deg,
    )
    diameters = metadata.telescope.antenna_diameters
    return choose_averaging(
        sampling,
        spectrum.freqs_hz,
        channel_width_hz=spectrum.channel_width_hz,
        group=max(len(header.freqs_hz) for header in tile.headers),
        max_smearing=max_smearing,
        beam_freq_factor=1.0 if diameters is None else float(np.median(diameters)) / DISH_DIAMETER_M,
    )


def _stream(tile: RawTile, solutions: Solutions, averaging: Averaging, context: Context) -> _Averaged:
    n_hands, n_rows = len(tile.hands), tile.metadata.Nblts
    shape = (n_rows, len(tile.spectrum.freqs_hz) // averaging.channels, n_hands)
    averaged = _Averaged(
        data=np.zeros(shape, dtype=np.complex64),
        weights=np.zeros(shape, dtype=np.float32),
        sums=TileSums.empty(tile.first, tile.second, len(tile.antenna_numbers), len(tile.times_jd), n_hands),
    )
    inverse = solutions.inverse()
    share = (_WEIGHING_STARTS - _READING_STARTS) / len(tile.headers)
    for done, subband in enumerate(read_subbands(tile)):
        context.progress(_READING_STARTS + share * done, f"calibrating {tile.headers[subband.index].path.name}")
        own = np.ascontiguousarray(inverse[:, subband.channels])
        flags = judge(_block(tile, subband), own)
        clipped = _add(tile, subband, own, flags, averaging, averaged)
        averaged.tally.add(tile, subband, flags, clipped=clipped)
    in_parts(kernels.normalise, n_rows, averaged.data, averaged.weights)
    if not averaged.weights.any():
        raise InvalidInput("calibration leaves no data: everything is flagged or zero")
    return averaged


def _block(tile: RawTile, subband: RawSubband) -> Block:
    return Block(
        data=subband.data,
        bad=subband.bad,
        rows=subband.rows.rows,
        first=tile.first,
        second=tile.second,
        hands=tile.hands,
        n_antennas=len(tile.antenna_numbers),
    )


def _add(
    tile: RawTile,
    subband: RawSubband,
    inverse: NDArray[np.complex64],
    flags: SubbandFlags,
    averaging: Averaging,
    averaged: _Averaged,
) -> int:
    """Add a subband to the averaged tile; return how many single values were clipped."""
    clipped = np.zeros(len(tile.first), dtype=np.int64)
    in_parts(
        kernels.calibrate_and_average,
        kernels.N_RUNS,
        subband.data,
        subband.bad,
        subband.rows.rows,
        subband.rows.swapped,
        tile.first,
        tile.second,
        tile.hands,
        inverse,
        flags.levels,
        flags.clip,
        flags.bad_cell,
        flags.bad_row,
        flags.channel_weight,
        tile.w_change_m,
        subband.freqs_hz,
        tile.target_row,
        subband.channels // averaging.channels,
        int(max(2, _COHERENCE_BAND_HZ // tile.spectrum.channel_width_hz)),
        averaged.data,
        averaged.weights,
        averaged.sums.noise,
        averaged.sums.noise_count,
        averaged.sums.coherence,
        clipped,
    )
    return int(clipped.sum())


def _weigh(tile: RawTile, averaged: _Averaged, solutions: Solutions) -> NDArray[np.bool_]:
    """Turn the sums of channel weights into weights, 1/Jy², 0 for dead antennas; return which are dead.

    Returns (n_antennas, n_times, n_hands).
    """
    if not np.any(solutions.gains != 1.0):
        raise InvalidInput("calibration changed nothing: the data would be imaged uncalibrated")
    dead = dead_antennas(averaged.sums)
    variances = antenna_variances(averaged.sums)
    product = variances[tile.first] * variances[tile.second]
    weight = np.divide(1.0, np.sqrt(product), out=np.zeros_like(product), where=product > 0).astype(np.float32)
    bad = dead[tile.first] | dead[tile.second]
    factor = np.zeros((tile.metadata.Nblts, len(tile.hands)), dtype=np.float32)
    known = tile.target_row >= 0
    factor[tile.target_row[known]] = np.where(bad, np.float32(0), weight[:, None])[known]
    averaged.weights *= factor[:, None]
    if not averaged.weights.any():
        raise InvalidInput("calibration leaves no data: no antenna shows more than noise")
    return dead


def _write(tile: RawTile, averaged: _Averaged, averaging: Averaging, path: Path) -> None:
    metadata, spectrum = tile.metadata, tile.spectrum
    describe_array(metadata)
    n_channels = averaged.data.shape[1]
    freqs_hz = spectrum.freqs_hz.reshape(n_channels, averaging.channels).mean(axis=1)
    set_channels(metadata, freqs_hz, spectrum.channel_width_hz * averaging.channels)
    metadata.data_array, metadata.nsample_array = averaged.data, averaged.weights
    metadata.flag_array = averaged.weights == 0
    metadata.vis_units = "Jy"
    write_measurement_set(metadata, path, declination_deg=tile.declination_deg)
    with open_table(path, write=True) as main:
        # pyuvdata takes the median over channels, which flagged ones pull to zero
        spectrum_weight = main.getcol("WEIGHT_SPECTRUM")
        counts = np.maximum(np.count_nonzero(spectrum_weight, axis=1), 1)
        weight = np.maximum(spectrum_weight.sum(axis=1) / counts, np.finfo(np.float32).tiny)
        main.putcol("WEIGHT", weight.astype(np.float32))
        main.putcol("SIGMA", (1.0 / np.sqrt(weight)).astype(np.float32))


def _result(
    params: CalibrateTargetParams,
    tile: RawTile,
    applied: _Applied,
    averaging: Averaging,
    averaged: _Averaged,
    report: StreamReport,
    verdict: VerdictRecord,
    *,
    name: str,
    ms_path: str,
) -> CalibrateTargetResult:
    nearest = min(applied.matches, key=lambda match: match.age_hours)
    between = applied.interpolated
    used = averaged.weights[averaged.weights > 0]
    return CalibrateTargetResult(
        ms_path=ms_path,
        name=name,
        verdict=verdict.verdict,
        reasons=verdict.all_reasons,
        telescope_name=tile.metadata.telescope.name,
        calibration_path=params.calibration_path,
        other_calibration_path=params.other_calibration_path,
        calibrator=nearest.record.calibrator or "",
        calibration_age_hours=nearest.age_hours,
        declination_difference_deg=nearest.declination_difference_deg,
        calibration_fraction=between.fraction if between else 0.0,
        calibration_phase_change_deg=between.phase_change_deg if between else None,
        calibration_amplitude_change=between.amplitude_change if between else None,
        n_antennas=len(tile.antenna_names),
        n_times=len(tile.times_jd),
        n_channels=averaged.data.shape[1],
        channels_averaged=averaging.channels,
        smearing=averaging.band_loss,
        total_smearing=averaging.total_loss,
        n_subbands=len(tile.headers),
        missing_subbands=list(tile.spectrum.missing_subbands),
        mid_time_mjd=float(mid_time(tile.metadata).mjd),
        phase_ra_deg=tile.centre.ra_deg,
        phase_dec_deg=tile.centre.dec_deg,
        declination_deg=tile.declination_deg,
        flagged_fraction=report.flagged_fraction,
        flag_counts=report.flag_counts,
        dead_antennas=report.dead_antennas,
        antennas_without_solution=report.antennas_without_solution,
        antennas_without_data=report.antennas_without_data,
        noise_median_jy=float(1.0 / np.sqrt(np.median(used))),
    )
