"""The `calibration-apply` stage: a private copy calibrated, averaged and weighted by the data's own scatter."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from casatasks import split
from numpy.typing import NDArray

from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import SECONDS_PER_DAY, MeasurementSetInfo, Rows, open_table
from pipeline_app.casa.pointing import beam_track
from pipeline_app.casa.reporting import steadily
from pipeline_app.casa.runtime import checked
from pipeline_app.casa.smearing import channels_to_average
from pipeline_app.casa.solutions import GAINS_NPZ, Solutions, match_calibration, read_record
from pipeline_app.casa.stream_flags import Block, SubbandFlags, judge
from pipeline_app.casa.tile_cube import segments
from pipeline_app.quality import assess
from pipeline_app.stages.calibration_apply import CalibrationApplyParams, CalibrationApplyResult
from pipeline_app.verdicts import inherit, record_of_conversion, write_record
from tasks_app.engine.handler import Context, InvalidInput

MIN_SAMPLES = 8
"""A baseline with fewer unflagged samples does not take part in the estimate."""
MAX_ORDER = 3
"""Of the differences: a source half a degree out turns by half a radian in an integration on the longest baselines."""
CHUNK_DIFFERENCES = 2
"""Rows are read in runs that hold this many times the integrations of one difference."""
MEDIAN_OF_MODULUS = math.sqrt(2.0 * math.log(2.0))
"""Of complex noise, over the standard deviation of one of its parts (Rayleigh distribution)."""


def antenna_noise_jy(info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Return s (n_antennas) such that the noise of one correlation of baseline (i, j) is sqrt(s_i s_j), in Jy.

    Third differences along time hold next to no sky, which turns slowly, and no errors of the calibration, which stay.
    The median of their moduli is noise (see `_differences`). With fewer than four integrations the order of the
    difference is less and some sky is left; with one alone, the scatter includes all of it. Antennas without data get
    the median.
    """
    n_antennas, n_times = len(info.antenna_names), len(info.times_mjd)
    order = min(MAX_ORDER, n_times - 1)
    sums, counts = np.zeros((n_antennas, n_antennas)), np.zeros((n_antennas, n_antennas))
    per_chunk = CHUNK_DIFFERENCES * (order + 1) * math.ceil(info.n_rows / n_times)
    for rows in measurement_set.iter_rows(info, rows_per_chunk=per_chunk):
        first, second, values = _differences(rows, info, order)
        good = np.isfinite(values).sum(axis=1)
        used = good >= MIN_SAMPLES
        medians = np.nanmedian(values[used], axis=1)
        np.add.at(sums, (first[used], second[used]), medians * good[used])
        np.add.at(counts, (first[used], second[used]), good[used])
    sums, counts = sums + sums.T, counts + counts.T
    return _factorise(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0))


def write_weights(info: MeasurementSetInfo) -> NDArray[np.float64]:
    """Set WEIGHT to 1/Jy² and SIGMA to Jy from the antennas' noise; return that noise (see `antenna_noise_jy`)."""
    noise = antenna_noise_jy(info)
    with open_table(info.path, write=True) as main:
        first, second = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        sigma = np.sqrt(noise[first] * noise[second])
        sigma = np.repeat(sigma[:, None], len(info.correlations), axis=1).astype(np.float32)
        main.putcol("SIGMA", sigma)
        main.putcol("WEIGHT", 1.0 / sigma**2)
        for column in ("WEIGHT_SPECTRUM", "SIGMA_SPECTRUM"):
            if column in main.colnames():
                main.removecols(column)
    return noise


def _differences(
    rows: Rows, info: MeasurementSetInfo, order: int
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float64]]:
    """Return antennas 1 and 2 (n,) and moduli (n, n_channels * n_hands) of differences of successive integrations.

    They are scaled so that their median is the noise of one part of one visibility, Jy; NaN where one is flagged.
    """
    place = np.lexsort((rows.time_index, rows.antenna2, rows.antenna1))
    place = place[rows.cross[place]]
    first, second, times = rows.antenna1[place], rows.antenna2[place], rows.time_index[place]
    n = max(len(place) - order, 0)
    start = np.flatnonzero(
        (first[:n] == first[order:]) & (second[:n] == second[order:]) & (times[:n] + order == times[order:])
    )
    hands = info.parallel_hands
    data = np.where(rows.flag[..., hands], np.nan, rows.columns["DATA"][..., hands])
    factors = [(-1) ** k * math.comb(order, k) for k in range(order + 1)]
    total = sum(factor * data[place[start + k]] for k, factor in enumerate(factors))
    scale = MEDIAN_OF_MODULUS * math.sqrt(sum(factor**2 for factor in factors))
    return first[start], second[start], np.abs(total).reshape(len(start), data[0].size) / scale


def _factorise(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return s with sigma_ij about sqrt(s_i s_j), by least squares in the logarithm."""
    logs = np.where(sigma > 0, np.log(np.where(sigma > 0, sigma, 1.0)), np.nan)
    upper = np.triu(np.isfinite(logs), 1)
    first, second = np.nonzero(upper)
    n_antennas = len(sigma)
    if len(first) == 0:
        return np.ones(n_antennas)
    design = np.zeros((len(first), n_antennas))
    design[np.arange(len(first)), first] = 0.5
    design[np.arange(len(first)), second] += 0.5
    solution = np.linalg.lstsq(design, logs[upper], rcond=None)[0]
    present = np.isin(np.arange(n_antennas), np.concatenate([first, second]))
    solution[~present] = np.median(solution[present])
    return np.exp(solution)


_FLAGGING_STARTS, _APPLYING_STARTS, _AVERAGING_STARTS = 0.2, 0.5, 0.7


@steadily
def run(params: CalibrationApplyParams, context: Context) -> CalibrationApplyResult:
    """Apply a calibration.

    Raises:
        InvalidInput: the calibration was refused, is stale, of another declination strip or array, or cannot be read;
            or nothing is left of the data.
    """
    original = measurement_set.read_info(params.ms_path)
    calibration = Path(params.calibration_path)
    match = match_calibration(
        read_record(calibration),
        params,
        mid_time_mjd=original.mid_time_mjd,
        declination_deg=beam_track(original).declination_deg,
    )
    solutions = Solutions.load(calibration / GAINS_NPZ).onto_measurement_set(original)
    context.progress(0.05, f"copying the Measurement Set; calibrator {match.record.calibrator}")
    copy = context.scratch_dir / "apply.ms"
    measurement_set.copy_tree(original.path, copy)
    info = measurement_set.read_info(copy)
    share = _APPLYING_STARTS - _FLAGGING_STARTS
    flag_measurement_set(
        info, solutions, lambda part: context.progress(_FLAGGING_STARTS + share * part, "flagging interference")
    )
    context.progress(_APPLYING_STARTS, "applying the calibration")
    amplitude_jy = apply_gains(info, solutions)
    averaging = channels_to_average(info, max_smearing=params.max_smearing)
    context.progress(_AVERAGING_STARTS, f"averaging {averaging.channels} channels")
    output = context.output(f"{original.path.stem}.calibrated.ms")
    _average(copy, output, averaging.channels)
    shutil.rmtree(copy)
    averaged = measurement_set.read_info(output)
    verdict = inherit(
        "calibration-apply",
        assess((), _warnings(solutions)),
        [match.record.as_verdict(), *record_of_conversion(original.path)],
    )
    write_record(output, verdict)
    noise = write_weights(averaged)
    result = CalibrationApplyResult(
        ms_path=context.published(output),
        calibration_path=params.calibration_path,
        calibrator=match.record.calibrator or "",
        calibration_age_hours=match.age_hours,
        declination_difference_deg=match.declination_difference_deg,
        channels_averaged=averaging.channels,
        n_channels=len(averaged.freqs_hz),
        smearing=averaging.band_loss,
        flagged_fraction=measurement_set.flagged_fraction(averaged),
        amplitude_median_jy=amplitude_jy,
        noise_median_jy=float(np.median(noise)),
        verdict=verdict.verdict,
        reasons=verdict.all_reasons,
    )
    context.product(
        "calibrated-ms",
        output,
        metrics=result.model_dump(exclude={"ms_path", "calibration_path", "verdict"}),
        verdict=verdict.verdict,
        inputs=[str(original.path), str(calibration)],
    )
    context.progress(1.0, "calibrated")
    return result


def apply_gains(info: MeasurementSetInfo, solutions: Solutions) -> float:
    """Replace DATA of a private copy by corrected data, and flag what has no solution.

    Dividing by the combined gains is what CASA's applycal does with the three tables, in one pass over the data and
    without doubling the Measurement Set. Returns the median amplitude in Jy.

    Raises:
        InvalidInput: everything is flagged or zero, or the gains leave the data as they are.
    """
    medians, changed = [], False
    everything = range(len(info.correlations))
    for rows in measurement_set.iter_rows(info):
        corrected, bad = solutions.corrected(rows, info, everything)
        good = ~bad[..., info.parallel_hands]
        values = corrected[..., info.parallel_hands][good]
        changed = changed or bool(np.any(values != rows.columns["DATA"][..., info.parallel_hands][good]))
        if values.size:
            medians.append(float(np.median(np.abs(values))))
        measurement_set.put_column(info.path, "DATA", rows.start, corrected)
        measurement_set.put_column(info.path, "FLAG", rows.start, bad)
    median_jy = float(np.median(medians)) if medians else 0.0
    if not np.isfinite(median_jy) or median_jy == 0:
        raise InvalidInput("calibration leaves no data: everything is flagged or zero")
    if not changed:
        raise InvalidInput("calibration changed nothing: the data would be imaged uncalibrated")
    return median_jy


def _average(copy: Path, output: Path, count: int) -> None:
    checked(
        split,
        vis=str(copy),
        outputvis=str(output),
        datacolumn="data",
        width=count,
        antenna="*&*",  # no autocorrelations
        keepflags=True,
    )


def _warnings(solutions: Solutions) -> list[str]:
    names = [solutions.antenna_names[index] for index in np.flatnonzero(solutions.flags.all(axis=(1, 2)))]
    return [f"{len(names)} antennas without a solution are flagged: {', '.join(names[:10])}"] if names else []


def flag_measurement_set(info: MeasurementSetInfo, solutions: Solutions, progress: Callable[[float], None]) -> None:
    """Set FLAG of autocorrelations, of what has no solution, and of all that `stream_flags` finds.

    `solutions` are on the antennas and channels of `info`; DATA are not corrected yet. `progress` is called with the
    part of the channels that is done.
    """
    inverse = solutions.inverse()
    hands, n_correlations = np.array(info.parallel_hands, dtype=np.int64), len(info.correlations)
    with open_table(info.path, write=True) as main:
        first, second, rows = _index(info, main.getcol("ANTENNA1"), main.getcol("ANTENNA2"), main.getcol("TIME"))
        unused = main.getcol("FLAG_ROW") | ~np.isin(np.arange(info.n_rows), rows)
        for part in segments(info.freqs_hz):
            progress(part.start / len(info.freqs_hz))
            corners = [part.start, 0], [part.stop - 1, n_correlations - 1]
            flag = main.getcolslice("FLAG", *corners) | unused[:, None, None]
            block = Block(
                data=main.getcolslice("DATA", *corners)[:, None],
                bad=flag[:, None],
                rows=rows,
                first=first,
                second=second,
                hands=hands,
                n_antennas=len(info.antenna_names),
            )
            own = np.ascontiguousarray(inverse[:, part])
            _add(flag, block, judge(block, own), own)
            main.putcolslice("FLAG", flag, *corners)


def _index(
    info: MeasurementSetInfo, antenna1: NDArray[np.int32], antenna2: NDArray[np.int32], times_sec: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the antennas of each baseline, and its rows (n_baselines, n_times), -1 where there is none."""
    n_antennas = len(info.antenna_names)
    cross = np.flatnonzero(antenna1 != antenna2)
    pairs, baseline = np.unique(antenna1[cross].astype(np.int64) * n_antennas + antenna2[cross], return_inverse=True)
    rows = np.full((len(pairs), len(info.times_mjd)), -1, dtype=np.int64)
    rows[baseline, np.searchsorted(info.times_mjd, times_sec[cross] / SECONDS_PER_DAY)] = cross
    return pairs // n_antennas, pairs % n_antennas, rows


def _add(flag: NDArray[np.bool_], block: Block, found: SubbandFlags, inverse: NDArray[np.complex64]) -> None:
    """Add to `flag` (n_rows, n_channels, n_correlations), in place; cross-hands go where a parallel hand goes."""
    baseline, time = np.nonzero(block.rows >= 0)
    rows, first, second = block.rows[baseline, time], block.first[baseline], block.second[baseline]
    gain_power, hands = np.abs(inverse) ** 2, block.hands
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.abs(block.data[rows, 0][..., hands]) ** 2 * gain_power[first] * gain_power[second]
    power *= found.channel_weight
    limit = found.levels[first] * found.levels[second] * found.clip[baseline]
    off = ~((power > 0) & (power < limit[:, None])) | found.bad_cell[time] | found.bad_row[baseline, time][:, None]
    everywhere = np.repeat(off.any(axis=-1, keepdims=True), flag.shape[-1], axis=-1)
    everywhere[..., hands] = off
    flag[rows] |= everywhere
