"""The `calibration-apply` stage: a calibrated and averaged Measurement Set, made from a private copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from casatasks import split

from pipeline_app.casa import measurement_set, weights
from pipeline_app.casa.calibration_match import match_calibration, read_record
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.ms_flags import flag_measurement_set
from pipeline_app.casa.pointing import beam_track
from pipeline_app.casa.reporting import steadily
from pipeline_app.casa.runtime import checked
from pipeline_app.casa.smearing import channels_to_average
from pipeline_app.casa.solutions import GAINS_NPZ, Solutions
from pipeline_app.stages.calibration_apply import CalibrationApplyParams, CalibrationApplyResult
from pipeline_app.verdicts import assess_warnings, inherit, record_of_conversion, write_record
from tasks_app.engine.handler import Context, InvalidInput

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
        assess_warnings(_warnings(solutions)),
        [match.record.as_verdict(), *record_of_conversion(original.path)],
    )
    write_record(output, verdict)
    noise = weights.write_weights(averaged)
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
