"""The `calibration-solve` stage: a private copy is flagged, modelled and solved, the solution judged and summarised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.calibration_summary import SUMMARY_NAME, AntennaSummary, SolutionsSummary
from pipeline_app.casa import measurement_set
from pipeline_app.casa.bandpass import find_delays
from pipeline_app.casa.calibration_tables import SolvedGains, write_tables
from pipeline_app.casa.field_calibration import (
    ChosenCalibrator,
    FieldCalibration,
    FittedSource,
    FluxScale,
    calibrate_field,
    catalogued_sources,
    choose_calibrator,
    choose_reference,
    compare_fluxes,
    flux_scale_error,
)
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.plots import plot_solutions
from pipeline_app.casa.pointing import BeamTrack, beam_track
from pipeline_app.casa.reporting import steadily
from pipeline_app.casa.solutions import GAINS_NPZ, Solutions, read_solutions
from pipeline_app.casa.tile_cube import TileCube, flag_interference, load_cube
from pipeline_app.quality import Assessment, CalibrationFigures, judge_calibration
from pipeline_app.stages.calibration_solve import (
    RECORD_NAME,
    CalibrationRecord,
    CalibrationSolveParams,
    CalibrationSolveResult,
    FittedFieldSource,
)
from pipeline_app.telescope import N_SUBBANDS
from pipeline_app.verdicts import inherit, record_of_conversion
from tasks_app.engine.handler import Context


def write_summary(solutions: Solutions, directory: Path) -> None:
    """Write `solutions.json` into the directory of a calibration."""
    text = summarize(solutions).model_dump_json()
    (directory / SUMMARY_NAME).write_text(text, encoding="utf-8")


def summarize(solutions: Solutions) -> SolutionsSummary:
    """Average the gains over each sixteenth of the channels: for the DSA-110 those are its subbands."""
    descending = np.argsort(-solutions.freqs_hz)
    parts = [part for part in np.array_split(descending, min(N_SUBBANDS, len(descending))) if len(part)]
    known = ~solutions.flags
    mean = np.stack([_mean(solutions.gains[..., part], known[..., part]) for part in parts], axis=-1)
    flagged = np.stack([1.0 - known[..., part].mean(axis=(1, 2)) for part in parts], axis=-1)
    amplitude = np.abs(mean)
    if np.isfinite(amplitude).any():
        amplitude = amplitude / np.nanmedian(amplitude)
    ascending = descending[::-1]
    weights = known[..., ascending].astype(float)
    delay_ns = 1e9 * find_delays(solutions.gains[..., ascending], weights, solutions.freqs_hz[ascending])
    delay_ns = np.where(known.any(axis=-1), delay_ns, np.nan)
    snr = np.where(solutions.gain_snr > 0, solutions.gain_snr, np.nan)
    return SolutionsSummary(
        refant=solutions.refant,
        freq_ghz=[round(float(solutions.freqs_hz[part].mean()) / 1e9, 5) for part in parts],
        antennas=[
            AntennaSummary(
                name=name,
                delay_ns=_plain(delay_ns[index], 3),
                snr=_plain(snr[index], 1),
                amplitude=[_plain(hand, 4) for hand in amplitude[index]],
                phase_deg=[_plain(hand, 2) for hand in np.degrees(np.angle(mean[index]))],
                flagged=[round(float(value), 4) for value in flagged[index]],
            )
            for index, name in enumerate(solutions.antenna_names)
        ],
    )


def _mean(gains: NDArray[np.complex128], known: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Return the mean over the last axis of what is known, NaN where nothing is."""
    count = known.sum(axis=-1)
    total = np.where(known, gains, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _plain(values: NDArray[np.float64], digits: int) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


PLOT_NAME = "solutions.png"
_LOADED, _FLAGGED, _SOLVED, _WRITTEN = 0.25, 0.3, 0.9, 0.95


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How far the solving came; `refusal` is why it could not go on."""

    refusal: str | None = None
    chosen: ChosenCalibrator | None = None
    cube: TileCube | None = None
    refant: str | None = None
    field: FieldCalibration | None = None
    scale: FluxScale = dataclasses.field(default_factory=FluxScale)
    solutions: Solutions | None = None


@steadily
def run(params: CalibrationSolveParams, context: Context) -> CalibrationSolveResult:
    """Solve for delays, bandpass and gains.

    Raises:
        InvalidInput: the Measurement Set cannot be read, or the named calibrator or antenna does not exist.
    """
    info = measurement_set.read_info(params.ms_path)
    track = beam_track(info)
    directory = context.output(f"{info.path.stem}.cal")
    directory.mkdir()
    outcome = _solve(params, context, info, track, directory)
    context.progress(_WRITTEN, "plotting the solutions")
    record = _record(info, track, outcome)
    (directory / RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    plot = _save_solutions(outcome, directory, title=f"{info.path.stem}  {record.calibrator}  {record.verdict}")
    inputs = [str(info.path)]
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
    params: CalibrationSolveParams, context: Context, info: MeasurementSetInfo, track: BeamTrack, directory: Path
) -> _Outcome:
    chosen = choose_calibrator(track, params.calibrator)
    if chosen is None:
        return _Outcome(refusal="no calibrator with a known flux in the beam")
    if chosen.apparent_flux_jy < params.min_apparent_flux_jy:
        return _Outcome(
            chosen=chosen,
            refusal=f"calibrator {chosen.entry.name} arrives with {chosen.apparent_flux_jy:.2f} Jy only"
            f" (needs {params.min_apparent_flux_jy:g} Jy)",
        )
    context.progress(0.0, f"calibrator {chosen.entry.name}")
    cube = load_cube(info, _within(context, 0.0, _LOADED), smeared=params.model_smearing)
    context.progress(_LOADED, "flagging interference")
    flag_interference(cube)
    refant = choose_reference(info, cube.counts().min(axis=1), params.refant)
    if refant is None:
        return _Outcome(chosen=chosen, cube=cube, refusal="all data are flagged")
    known = catalogued_sources(chosen, track, params.field_sources) if params.model_field_sources else []
    field = calibrate_field(
        cube,
        track,
        chosen.source,
        known,
        info.antenna_names.index(refant),
        find=params.model_field_sources,
        progress=_within(context, _FLAGGED, _SOLVED),
    )
    context.progress(_SOLVED, "writing the tables")
    solved = _solved_gains(cube, field, info.antenna_names.index(refant), params.min_solution_snr)
    if not (solved.weights > 0).any():
        return _Outcome(
            chosen=chosen,
            cube=cube,
            refant=refant,
            refusal=f"no antenna has enough signal: no solution reaches {params.min_solution_snr:g} times its noise",
        )
    write_tables(info, directory, solved, scratch=context.scratch_dir)
    return _Outcome(
        chosen=chosen,
        cube=cube,
        refant=refant,
        field=field,
        scale=compare_fluxes(field.fitted, [one.source.name for one in known]),
        solutions=read_solutions(directory, info, refant),
    )


def _within(context: Context, low: float, high: float) -> Callable[[float, str], None]:
    """Return a way to report the progress of a part of the stage."""
    return lambda part, message: context.progress(low + (high - low) * part, message)


def _solved_gains(cube: TileCube, field: FieldCalibration, refant: int, min_snr: float) -> SolvedGains:
    """Bring the gains back to the data's own level, without those that noise drowns."""
    smoothed = field.smoothed
    weights = smoothed.weights / max(field.noise, 1e-30) ** 2
    good = np.abs(smoothed.gains) * np.sqrt(weights) >= min_snr
    levels = np.nan_to_num(cube.levels, nan=1.0)[..., None]
    return SolvedGains(
        gains=np.where(good, smoothed.gains * levels, 0),
        weights=np.where(good, weights / levels**2, 0.0),
        refant=refant,
    )


def _save_solutions(outcome: _Outcome, directory: Path, *, title: str) -> Path | None:
    if outcome.solutions is None:
        return None
    outcome.solutions.save(directory / GAINS_NPZ)
    write_summary(outcome.solutions, directory)
    plot = directory / PLOT_NAME
    plot_solutions(outcome.solutions, plot, title=title)
    return plot


def _record(info: MeasurementSetInfo, track: BeamTrack, outcome: _Outcome) -> CalibrationRecord:
    figures = _figures(outcome)
    if outcome.refusal is not None:
        assessment = Assessment(verdict="fail", reasons=(outcome.refusal,))
    else:
        assessment = judge_calibration(figures)
    verdict = inherit("calibration", assessment, record_of_conversion(info.path))
    chosen, cube, field, scale = outcome.chosen, outcome.cube, outcome.field, outcome.scale
    fitted = field.fitted if field else ()
    return CalibrationRecord(
        **dataclasses.asdict(figures),
        verdict=verdict.verdict,
        reasons=verdict.all_reasons,
        calibrator=chosen.entry.name if chosen else None,
        calibrator_flux_jy=chosen.entry.flux_jy if chosen else None,
        calibrator_apparent_flux_jy=chosen.apparent_flux_jy if chosen else None,
        n_field_sources=len(fitted),
        field_sources=[_fitted(one) for one in fitted],
        flux_scale_error=flux_scale_error(scale, figures.amplitude_ratio),
        refant=outcome.refant,
        antennas_without_data=[] if cube is None else _names(info, ~_with_data(cube)),
        antennas_without_solution=_without_solution(info, outcome),
        flagged_by=dict(cube.flagged) if cube else {},
        phase_drift_deg=field.phase_drift_deg if field else 0.0,
        smoothing_channels=float(np.median(2 * field.smoothed.half_widths + 1)) if field else 1.0,
        mid_time_mjd=info.mid_time_mjd,
        declination_deg=track.declination_deg,
        freq_min_hz=float(info.freqs_hz.min()),
        freq_max_hz=float(info.freqs_hz.max()),
        channel_width_hz=info.channel_width_hz,
        source_ms_path=str(info.path),
        versions={name: version(name) for name in ("casatools", "casatasks", "python-casacore", "numpy", "numba")},
    )


def _fitted(one: FittedSource) -> FittedFieldSource:
    source = one.source
    return FittedFieldSource(
        name=source.name,
        ra_deg=source.ra_deg % 360,
        dec_deg=source.dec_deg,
        flux_jy=source.flux_jy,
        alpha=source.alpha,
        error_jy=one.error_jy,
        catalogue_flux_jy=one.catalogue_flux_jy,
    )


def _with_data(cube: TileCube) -> NDArray[np.bool_]:
    """Return which antennas have a level, so data that are neither flagged nor zero, (n_antennas)."""
    return np.asarray(np.isfinite(cube.levels).any(axis=1))


def _names(info: MeasurementSetInfo, chosen: NDArray[np.bool_]) -> list[str]:
    return [info.antenna_names[index] for index in np.flatnonzero(chosen)]


def _without_solution(info: MeasurementSetInfo, outcome: _Outcome) -> list[str]:
    if outcome.cube is None or outcome.solutions is None:
        return []
    return _names(info, _with_data(outcome.cube) & outcome.solutions.flags.all(axis=(1, 2)))


def _figures(outcome: _Outcome) -> CalibrationFigures:
    """Measure what the verdict depends on; antennas without data count in no fraction."""
    cube, solutions, field, scale = outcome.cube, outcome.solutions, outcome.field, outcome.scale
    n_antennas = int(_with_data(cube).sum()) if cube else 0
    flagged_fraction = cube.flagged_fraction if cube else 1.0
    if cube is None or solutions is None or field is None:
        return CalibrationFigures(n_antennas=n_antennas, flagged_fraction=flagged_fraction)
    snr = solutions.gain_snr[solutions.gain_snr > 0]
    return CalibrationFigures(
        n_antennas=n_antennas,
        n_antennas_solved=solutions.antennas_solved,
        flagged_solutions=float(solutions.flags[_with_data(cube)].mean()),
        flagged_fraction=flagged_fraction,
        snr_median=float(np.median(snr)) if len(snr) else None,
        phase_rms_deg=field.agreement.phase_rms_deg,
        amplitude_ratio=field.agreement.amplitude_ratio,
        flux_ratio_median=scale.ratio_median,
        flux_ratio_error=scale.ratio_error,
        n_flux_references=scale.n_references,
    )
