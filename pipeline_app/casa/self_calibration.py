"""The `self-calibration` stage: phases against the target's own model, a second image where it is better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import fits_images, imaging, measurement_set
from pipeline_app.casa.fits_images import SkyImage
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.model import PointModel, PointSource, bright_sources
from pipeline_app.casa.phase_solver import Phases, Products, choose_intervals, solve_phases
from pipeline_app.casa.pointing import beam_track
from pipeline_app.casa.reporting import steadily
from pipeline_app.quality import CoherenceFigures, judge_coherence
from pipeline_app.stages.imaging import ImagingParams, ImagingResult
from pipeline_app.stages.photometry import IMAGE_FIELDS
from pipeline_app.stages.self_calibration import RECORD_NAME, SelfCalibrationParams, SelfCalibrationResult
from pipeline_app.verdicts import VerdictRecord, inherit, record_of_calibrated, write_record
from tasks_app.engine.handler import Context

START, SUMMED, SOLVED, CORRECTED = 0.02, 0.25, 0.3, 0.35
"""Progress at the end of each part; the second imaging takes the rest."""
MAX_SOURCES = 30


@steadily
def run(params: SelfCalibrationParams, context: Context) -> SelfCalibrationResult:
    """Solve the phases of a target, apply them to a new Measurement Set and image it where that is better.

    Raises:
        InvalidInput: the Measurement Set or the model cannot be read, or do not belong together.
    """
    info = measurement_set.read_info(params.ms_path)
    flat, response = fits_images.read_image(params.flat_image_path), fits_images.read_image(params.pb_path).data
    sources = model_of(params, flat, response)
    context.progress(START, f"comparing the data with a model of {len(sources)} sources")
    products = sum_products(info, sources, context)
    n_intervals = choose_intervals(products, params.target_phase_error_deg)
    context.progress(SUMMED, f"solving phases in {n_intervals} intervals")
    phases = solve_phases(products.by_interval(n_intervals))
    applied = phases is not None and is_better(phases, params)
    name = Path(params.ms_path).name.removesuffix(".ms").removesuffix(".calibrated")
    gains_path = _write_gains(context, name, info, phases) if phases is not None else None
    calibrated = record_of_calibrated(params.ms_path, calibrated_elsewhere=_is_foreign(params))
    ms_path, second, left = params.ms_path, None, None
    if phases is not None and applied:
        context.progress(SOLVED, f"applying phases of {phases.rms_deg:.1f}° rms")
        corrected = _apply(context, info, phases, name)
        later = _Later(context, CORRECTED, made=corrected)
        images = imaging.make(ImagingParams(ms_path=str(corrected), **params.imaging), later)
        left = coherence_left(corrected, params, images, context, n_intervals)
    record = _judge(_figures(phases, applied, left), calibrated)
    if phases is not None and applied:
        ms_path = _publish_corrected(params, context, corrected, phases, record)
        second = imaging.publish(images, later)
    result = _result(
        params,
        context,
        phases,
        record,
        left,
        n_sources=len(sources),
        ms_path=ms_path,
        gains_path=gains_path,
        second=second,
    )
    _declare_record(context, record, params, result)
    return result


def is_better(phases: Phases, params: SelfCalibrationParams) -> bool:
    """Return whether the phases are known well enough and gain more than their errors cost."""
    return phases.error_deg <= params.max_phase_error_deg and phases.improvement >= params.min_improvement


def coherence_left(
    ms_path: Path, params: SelfCalibrationParams, second: imaging.Images, context: Context, n_intervals: int
) -> float | None:
    """Return the coherence of the corrected data with the second image, which holds less of the errors than the first.

    A model made from the same data hides part of what is wrong with their phases, so what is left is measured again.
    """
    sources = model_of(params, second.cleaned.flat, second.response)
    products = sum_products(measurement_set.read_info(ms_path), sources, context)
    phases = solve_phases(products.by_interval(n_intervals))
    return None if phases is None else phases.coherence


def model_of(params: SelfCalibrationParams, flat: SkyImage, response: NDArray[np.float64]) -> list[PointSource]:
    """Return the bright sources of an image before its correction, given the response of the same shape."""
    return bright_sources(
        flat,
        response,
        min_snr=params.min_snr,
        min_fraction=params.min_fraction,
        limit=MAX_SOURCES,
        spectral_index=float(
            params.imaging.get("spectral_index", ImagingParams.model_fields["spectral_index"].default)
        ),
    )


def sum_products(info: MeasurementSetInfo, sources: list[PointSource], context: Context) -> Products:
    """Return the sums of data against the model."""
    model = PointModel(sources, info, beam_track(info)) if sources else None
    hands = info.parallel_hands
    products = Products.empty(len(info.times_mjd), len(hands), len(info.antenna_names))
    for rows in measurement_set.iter_rows(info, ("DATA", "WEIGHT")):
        if model is None:
            break
        context.progress(START + (SUMMED - START) * rows.start / info.n_rows, "comparing the data with the model")
        cross = rows.cross
        expected = model.visibilities(rows)[cross]
        weights = np.broadcast_to(rows.columns["WEIGHT"][:, None, :], rows.flag.shape)
        for number, hand in enumerate(hands):
            values = rows.columns["DATA"][cross, :, hand]
            good = ~rows.flag[cross, :, hand] & np.isfinite(values)
            products.add(
                np.where(good, values, 0),
                np.where(good, weights[cross, :, hand], 0.0),
                expected,
                hand=number,
                time_index=rows.time_index[cross],
                antenna1=rows.antenna1[cross],
                antenna2=rows.antenna2[cross],
            )
    return products


def apply_phases(info: MeasurementSetInfo, phases: Phases) -> None:
    """Take the solved phases out of DATA of a private copy."""
    n_times, n_intervals = len(info.times_mjd), len(phases.gains)
    runs = np.array_split(np.arange(n_times), n_intervals)
    interval_of = np.concatenate([np.full(len(run), k) for k, run in enumerate(runs)])
    hand_of = {hand: number for number, hand in enumerate(info.parallel_hands)}
    for rows in measurement_set.iter_rows(info):
        data = rows.columns["DATA"]
        interval = interval_of[rows.time_index]
        for hand, number in hand_of.items():
            first = phases.gains[interval, number, rows.antenna1]
            second = phases.gains[interval, number, rows.antenna2]
            data[..., hand] *= (first.conj() * second).astype(np.complex64)[:, None]
        measurement_set.put_column(info.path, "DATA", rows.start, data)


def _apply(context: Context, info: MeasurementSetInfo, phases: Phases, name: str) -> Path:
    output = context.output(f"{name}.selfcal.ms")
    measurement_set.copy_tree(info.path, output)
    apply_phases(measurement_set.read_info(output), phases)
    return output


def _publish_corrected(
    params: SelfCalibrationParams, context: Context, output: Path, phases: Phases, record: VerdictRecord
) -> str:
    write_record(output, record)
    metrics = {"coherence": phases.coherence, "phase_rms_deg": phases.rms_deg}
    inputs = [params.ms_path, params.flat_image_path]
    context.product("self-calibrated-ms", output, metrics=metrics, verdict=record.verdict, inputs=inputs)
    return context.published(output)


class _Later:
    """A context for a second stage in the same attempt: progress goes on, and what the first made is no input."""

    def __init__(self, context: Context, start: float, *, made: Path) -> None:
        self._context, self._start, self._made = context, start, made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        scaled = None if fraction is None else self._start + (1.0 - self._start) * fraction
        self._context.progress(scaled, f"second image: {message}", **metrics)

    def product(self, kind: str, path: Path, *, inputs: Sequence[str] = (), **rest: Any) -> None:
        """Declare a product under the path that its input will have."""
        named = [self._context.published(self._made) if given == str(self._made) else given for given in inputs]
        self._context.product(kind, path, inputs=named, **rest)


def _is_foreign(params: SelfCalibrationParams) -> bool:
    return bool(params.imaging.get("calibrated_elsewhere", False))


def _figures(phases: Phases | None, applied: bool, left: float | None = None) -> CoherenceFigures:
    if phases is None:
        return CoherenceFigures()
    return CoherenceFigures(
        coherence=phases.coherence,
        coherence_error=phases.coherence_error,
        coherence_after=min(phases.coherence_after, left or 1.0) if applied else None,
        phase_rms_deg=phases.rms_deg,
    )


def _judge(figures: CoherenceFigures, calibrated: VerdictRecord) -> VerdictRecord:
    """Return the record of the stage: what its inputs' fluxes may be wrong by, and what incoherent phases take."""
    return inherit(
        "self-calibration", judge_coherence(figures), [calibrated], flux_scale_error=figures.flux_scale_error
    )


def _write_gains(context: Context, name: str, info: MeasurementSetInfo, phases: Phases) -> str:
    output = context.output(f"{name}.phases.npz")
    np.savez(output, gains=phases.gains, antenna_names=np.array(info.antenna_names), times_mjd=info.times_mjd)
    context.product("self-calibration-gains", output, metrics={"phase_rms_deg": phases.rms_deg})
    return context.published(output)


def _result(
    params: SelfCalibrationParams,
    context: Context,
    phases: Phases | None,
    record: VerdictRecord,
    left: float | None,
    *,
    n_sources: int,
    ms_path: str,
    gains_path: str | None,
    second: ImagingResult | None,
) -> SelfCalibrationResult:
    images = second or params
    figures = _figures(phases, second is not None, left)
    return SelfCalibrationResult(
        applied=second is not None,
        ms_path=ms_path,
        **{name: getattr(images, name) for name in IMAGE_FIELDS},
        record_path=context.published(context.output(RECORD_NAME)),
        gains_path=gains_path,
        second_image=second,
        n_model_sources=n_sources,
        n_intervals=len(phases.gains) if phases else 0,
        phase_error_deg=phases.error_deg if phases else None,
        phase_rms_deg=figures.phase_rms_deg,
        coherence=figures.coherence,
        coherence_error=figures.coherence_error,
        coherence_after=figures.coherence_after,
        improvement=phases.improvement if phases else None,
        verdict=record.verdict,
        reasons=record.all_reasons,
    )


def _declare_record(
    context: Context, record: VerdictRecord, params: SelfCalibrationParams, result: SelfCalibrationResult
) -> None:
    output = context.output(RECORD_NAME)
    write_record(output.parent, record, output.name)
    figures = ("applied", "coherence", "coherence_error", "coherence_after", "phase_rms_deg", "phase_error_deg")
    metrics = {name: getattr(result, name) for name in figures}
    context.product(
        "self-calibration",
        output,
        metrics=metrics,
        verdict=record.verdict,
        inputs=[params.ms_path, params.flat_image_path],
    )
    measured = "not measurable" if result.coherence is None else f"{result.coherence:.3f}"
    context.progress(1.0, f"coherence {measured}; {'second image made' if result.applied else 'first image kept'}")
