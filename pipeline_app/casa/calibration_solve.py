"""The `calibration-solve` stage: a private copy is flagged, modelled and solved; the verdict says if it may be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline_app.casa import measurement_set
from pipeline_app.casa.calibration_plot import plot_solutions
from pipeline_app.casa.calibration_tables import NotSolved, solve_tables
from pipeline_app.casa.calibrator_field import ChosenCalibrator, choose_calibrator, find_field_sources
from pipeline_app.casa.flagging import flag_bad_data
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.model import PointSource, write_model
from pipeline_app.casa.pointing import BeamTrack, beam_track
from pipeline_app.casa.reference_antenna import choose_reference
from pipeline_app.casa.residuals import Agreement, flag_residuals, measure_agreement
from pipeline_app.casa.solutions import GAINS_NPZ, Solutions, read_solutions
from pipeline_app.quality import Assessment, CalibrationFigures, judge_calibration
from pipeline_app.stages.calibration_solve import (
    RECORD_NAME,
    CalibrationRecord,
    CalibrationSolveParams,
    CalibrationSolveResult,
)
from tasks_app.handler import Context

PLOT_NAME = "solutions.png"


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How far the solving came; `refusal` says why it could not go on."""

    refusal: str | None = None
    chosen: ChosenCalibrator | None = None
    field_sources: list[PointSource] = field(default_factory=list)
    refant: str | None = None
    solutions: Solutions | None = None
    agreement: Agreement = field(default_factory=Agreement)


def run(params: CalibrationSolveParams, context: Context) -> CalibrationSolveResult:
    """Solve for delays, bandpass and gains.

    Raises:
        InvalidInput: the Measurement Set cannot be read, or the named calibrator or antenna does not exist.
    """
    original = measurement_set.read_info(params.ms_path)
    track = beam_track(original)
    chosen = choose_calibrator(track, params.calibrator)
    context.progress(0.02, "copying the Measurement Set")
    copy = context.scratch_dir / "solve.ms"
    measurement_set.copy_tree(original.path, copy)
    info = measurement_set.read_info(copy)

    directory = context.output(f"{original.path.stem}.cal")
    directory.mkdir()
    outcome = _solve(params, context, info, track, chosen, directory)
    record = _record(original, info, track, outcome)
    (directory / RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    plot = _save_solutions(outcome, directory, title=f"{original.path.stem}  {record.calibrator}  {record.verdict}")
    inputs = [str(original.path)]
    if plot is not None:
        context.product("plot", plot, inputs=inputs)
    metrics = record.model_dump(exclude={"verdict", "versions", "source_ms_path"})
    context.product("calibration", directory, metrics=metrics, verdict=record.verdict, inputs=inputs)
    context.progress(1.0, f"calibration {record.verdict}")
    return CalibrationSolveResult(
        **record.model_dump(),
        calibration_path=context.published(directory),
        plot_path=context.published(plot) if plot else None,
    )


def _solve(
    params: CalibrationSolveParams,
    context: Context,
    info: MeasurementSetInfo,
    track: BeamTrack,
    chosen: ChosenCalibrator | None,
    directory: Path,
) -> _Outcome:
    if chosen is None:
        return _Outcome(refusal="no calibrator with a known flux in the beam")
    if chosen.apparent_flux_jy < params.min_apparent_flux_jy:
        return _Outcome(
            chosen=chosen,
            refusal=f"calibrator {chosen.entry.name} arrives with {chosen.apparent_flux_jy:.2f} Jy only"
            f" (needs {params.min_apparent_flux_jy:g} Jy)",
        )
    context.progress(0.1, f"flagging; calibrator {chosen.entry.name}")
    flag_bad_data(info)
    refant = choose_reference(info, params.refant)
    if refant is None:
        return _Outcome(chosen=chosen, refusal="all data are flagged")
    sources = [chosen.source]
    try:
        context.progress(0.25, f"solving against {refant}")
        solutions = _solve_once(sources, info, track, params, context, directory, refant)
        flagged = flag_residuals(sources, info, track, solutions)
        if params.model_field_sources:
            sources += find_field_sources(chosen, info, track, solutions)
        if flagged or len(sources) > 1:
            context.progress(0.6, f"solving again: {flagged} outliers flagged, {len(sources) - 1} field sources")
            solutions = _solve_once(sources, info, track, params, context, directory, refant)
    except NotSolved as error:
        return _Outcome(chosen=chosen, refant=refant, refusal=str(error))
    context.progress(0.9, "comparing corrected data with the model")
    agreement = measure_agreement(sources, info, track, solutions)
    return _Outcome(chosen=chosen, field_sources=sources[1:], refant=refant, solutions=solutions, agreement=agreement)


def _solve_once(
    sources: list[PointSource],
    info: MeasurementSetInfo,
    track: BeamTrack,
    params: CalibrationSolveParams,
    context: Context,
    directory: Path,
    refant: str,
) -> Solutions:
    write_model(sources, info, track)
    solve_tables(info, directory, scratch=context.scratch_dir, refant=refant, min_snr=params.min_solution_snr)
    return read_solutions(directory, info, refant)


def _save_solutions(outcome: _Outcome, directory: Path, *, title: str) -> Path | None:
    if outcome.solutions is None:
        return None
    outcome.solutions.save(directory / GAINS_NPZ)
    plot = directory / PLOT_NAME
    plot_solutions(outcome.solutions, plot, title=title)
    return plot


def _record(
    original: MeasurementSetInfo, info: MeasurementSetInfo, track: BeamTrack, outcome: _Outcome
) -> CalibrationRecord:
    figures = _figures(info, outcome)
    if outcome.refusal is not None:
        assessment = Assessment(verdict="fail", reasons=(outcome.refusal,))
    else:
        assessment = judge_calibration(figures)
    chosen = outcome.chosen
    return CalibrationRecord(
        verdict=assessment.verdict,
        reasons=list(assessment.reasons),
        calibrator=chosen.entry.name if chosen else None,
        calibrator_flux_jy=chosen.entry.flux_jy if chosen else None,
        calibrator_apparent_flux_jy=chosen.apparent_flux_jy if chosen else None,
        n_field_sources=len(outcome.field_sources),
        refant=outcome.refant,
        n_antennas=figures.n_antennas,
        n_antennas_solved=figures.n_antennas_solved,
        flagged_solutions=figures.flagged_solutions,
        flagged_fraction=figures.flagged_data,
        snr_median=figures.snr_median,
        phase_rms_deg=figures.phase_rms_deg,
        amplitude_ratio=figures.amplitude_ratio,
        mid_time_mjd=original.mid_time_mjd,
        declination_deg=track.declination_deg,
        freq_min_hz=float(original.freqs_hz.min()),
        freq_max_hz=float(original.freqs_hz.max()),
        channel_width_hz=original.channel_width_hz,
        source_ms_path=str(original.path),
        versions={name: version(name) for name in ("casatools", "casatasks", "python-casacore", "numpy")},
    )


def _figures(info: MeasurementSetInfo, outcome: _Outcome) -> CalibrationFigures:
    flagged_data = measurement_set.flagged_fraction(info)
    if outcome.solutions is None:
        return CalibrationFigures(
            n_antennas=len(info.antenna_names),
            n_antennas_solved=0,
            flagged_solutions=1.0,
            flagged_data=flagged_data,
            snr_median=None,
            phase_rms_deg=None,
            amplitude_ratio=None,
        )
    solutions = outcome.solutions
    snr = solutions.gain_snr[solutions.gain_snr > 0]
    return CalibrationFigures(
        n_antennas=len(info.antenna_names),
        n_antennas_solved=solutions.antennas_solved,
        flagged_solutions=float(solutions.flags.mean()),
        flagged_data=flagged_data,
        snr_median=float(np.median(snr)) if len(snr) else None,
        phase_rms_deg=outcome.agreement.phase_rms_deg,
        amplitude_ratio=outcome.agreement.amplitude_ratio,
    )
