"""The `imaging` stage: a cleaned image, the primary beam of a drifting sky, FITS files, a preview and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import fits_images, measurement_set
from pipeline_app.casa.deconvolution import Cleaned, ImagingJob
from pipeline_app.casa.engines import ENGINES, EngineName, choose_engine
from pipeline_app.casa.fits_images import Grid, choose_grid, fit_beam
from pipeline_app.casa.gridding import Gridder
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.plots import Preview, draw_preview, draw_thumbnail
from pipeline_app.casa.pointing import BeamTrack, beam_track
from pipeline_app.casa.reporting import steadily
from pipeline_app.casa.response import effective_response
from pipeline_app.casa.stokes import ImagingWeights, StokesI, imaging_weights, read_stokes_i
from pipeline_app.preview_frame import PreviewFrame
from pipeline_app.quality import ImageFigures, judge_image
from pipeline_app.stages.imaging import ImagingParams, ImagingResult
from pipeline_app.verdicts import VerdictRecord, inherit, record_of_calibrated
from tasks_app.engine.handler import Context

RESPONSE_CUTOFF = 0.1
"""The corrected image is blank where the effective response is less."""
TRIAL_SIZE_PIX = 256
"""Of the first, small point spread function, to which the beam is fitted to choose the pixel."""
TRIAL_CELLS_PER_FRINGE = 3.0
TRIAL_CHANNELS = 32
"""Channels, spread over the band, that stand for all in it: what is fitted is the innermost lobe alone."""
SUFFIXES = {
    "image": "image.fits",
    "flat-image": "flat.fits",
    "primary-beam": "pb.fits",
    "model-image": "model.fits",
    "residual-image": "residual.fits",
    "point-spread-function": "psf.fits",
    "preview": "png",
    "thumbnail": "thumbnail.png",
}
"""Of the files, by kind of product."""
READ, WEIGH, CLEAN, RESPONSE, WRITE, DRAW = 0.02, 0.06, 0.10, 0.88, 0.92, 0.94
"""Progress at the start of each part."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a Measurement Set and what was measured on them, before anything is judged or written."""

    params: ImagingParams
    engine: EngineName
    info: MeasurementSetInfo
    weights: ImagingWeights
    grid: Grid
    cleaned: Cleaned
    response: NDArray[np.float64]
    figures: ImageFigures


@steadily
def run(params: ImagingParams, context: Context) -> ImagingResult:
    """Image a calibrated Measurement Set.

    Raises:
        InvalidInput: it cannot be read, all of it is flagged, the image asked for is too large, or the engine asked
            for is not installed.
    """
    return publish(make(params, context), context)


def make(params: ImagingParams, context: Context) -> Images:
    """Make the images in memory. Raises InvalidInput as `run` does."""
    progress = context.progress
    engine = choose_engine(params.engine)
    info = measurement_set.read_info(params.ms_path)
    track = beam_track(info)
    data = read_stokes_i(info, lambda done, message: progress(READ + (WEIGH - READ) * done, message))
    field_deg = field_size_deg(params, track)
    progress(WEIGH, "weighting the visibilities and fitting the beam")
    weights = imaging_weights(data, robust=params.robust, field_rad=math.radians(field_deg))
    grid = grid_for(params, data, weights, field_deg)
    size = f"{grid.imsize_pix} x {grid.imsize_pix} pixels of {grid.cell_arcsec:.2f}″"
    job = ImagingJob(
        params=params,
        data=data,
        weights=weights,
        track=track,
        grid=grid,
        scratch_dir=context.scratch_dir,
        progress=lambda done, message: progress(CLEAN + (RESPONSE - CLEAN) * done, f"{size}: {message}"),
    )
    cleaned = ENGINES[engine](job)
    progress(RESPONSE, "computing the primary beam and smearing over times and channels")
    response = effective_response(
        cleaned.flat.wcs,
        cleaned.flat.data.shape,
        data,
        track,
        weights,
        spectral_index=params.spectral_index,
        smearing=params.correct_smearing,
    )
    return Images(
        params=params,
        engine=engine,
        info=info,
        weights=weights,
        grid=grid,
        cleaned=cleaned,
        response=response,
        figures=measure(cleaned, response, weights),
    )


def publish(images: Images, context: Context) -> ImagingResult:
    """Judge the images by what was measured and by the record of the Measurement Set, and write them as products."""
    params, figures = images.params, images.figures
    calibrated = record_of_calibrated(params.ms_path, calibrated_elsewhere=params.calibrated_elsewhere)
    verdict = inherit("imaging", judge_image(figures), [calibrated])
    name = Path(params.ms_path).name.removesuffix(".ms").removesuffix(".calibrated")
    paths = {kind: context.output(f"{name}.{suffix}") for kind, suffix in SUFFIXES.items()}
    context.progress(WRITE, "writing the images")
    _write(images, paths, verdict)
    context.progress(DRAW, "drawing the preview")
    frame = _draw(images, paths, verdict)
    result = _result(context, paths, images, verdict)
    _declare(context, paths, params, result, frame)
    context.progress(1.0, f"image {verdict.verdict}: rms {figures.rms_jy * 1e3:.2f} mJy/beam")
    return result


def field_size_deg(params: ImagingParams, track: BeamTrack) -> float:
    """Return the side of the image: what is asked for, else the primary beam's width and its drift."""
    if params.imsize_pix and params.cell_arcsec:
        return params.imsize_pix * params.cell_arcsec / 3600.0
    width_deg = telescope.beam_fwhm_deg(telescope.REFERENCE_FREQ_HZ * track.freq_factor)
    return params.field_deg or width_deg + track.drift_deg


def grid_for(params: ImagingParams, data: StokesI, weights: ImagingWeights, field_deg: float) -> Grid:
    """Choose pixel and size by the beam fitted to a small point spread function of finer pixels."""
    fine_arcsec = math.degrees(1.0 / (TRIAL_CELLS_PER_FRINGE * weights.max_uv_wavelengths)) * 3600.0
    trial_grid = Grid(imsize_pix=TRIAL_SIZE_PIX, cell_arcsec=fine_arcsec)
    trial = Gridder(data, weights, trial_grid, channels=weights.some_channels(TRIAL_CHANNELS))
    return choose_grid(
        cell_arcsec=params.cell_arcsec,
        imsize_pix=params.imsize_pix,
        field_deg=field_deg,
        beam_minor_arcsec=fit_beam(trial.psf(), fine_arcsec).minor_arcsec,
        max_uv_wavelengths=weights.max_uv_wavelengths,
    )


def measure(cleaned: Cleaned, response: np.ndarray, weights: ImagingWeights) -> ImageFigures:
    """Measure noise and peak; the noise outside half power where there is enough of it, and robustly."""
    outside = response < 0.5
    sample = cleaned.flat.data[outside] if outside.mean() > 0.1 else cleaned.flat.data
    return ImageFigures(
        rms_jy=float(mad_std(sample)),
        thermal_rms_jy=weights.thermal_rms_jy,
        peak_jy=float(cleaned.flat.data.max()),
        flagged_data=weights.flagged_fraction,
        diverged=cleaned.diverged,
    )


def _write(images: Images, paths: Mapping[str, Path], verdict: VerdictRecord) -> None:
    cleaned, response, params = images.cleaned, images.response, images.params
    flat, effective_freq_hz = cleaned.flat, images.weights.effective_freq_hz(images.info.freqs_hz)
    corrected = np.where(response >= RESPONSE_CUTOFF, flat.data / np.maximum(response, RESPONSE_CUTOFF), np.nan)
    note = f"Stokes I at 1.405 GHz, primary-beam corrected, alpha {params.spectral_index:g}"

    def write(path: Path, data: np.ndarray, freq_hz: float, note: str, unit: str = "Jy/beam") -> None:
        fits_images.write_image(path, flat, data, freq_hz=freq_hz, note=note, unit=unit, verdict=verdict)

    write(paths["flat-image"], flat.data, effective_freq_hz, "apparent Stokes I")
    write(paths["image"], corrected, telescope.REFERENCE_FREQ_HZ, note)
    write(
        paths["primary-beam"],
        response,
        telescope.REFERENCE_FREQ_HZ,
        "flat image over this is Stokes I at 1.405 GHz",
        "",
    )
    note = "apparent Stokes I less the clean components, per dirty beam"
    write(paths["residual-image"], cleaned.residual, effective_freq_hz, note)
    write(paths["point-spread-function"], cleaned.psf, effective_freq_hz, "dirty beam, 1 at its peak", "")
    # what a prediction of visibilities needs: Jy/pixel are averages over the tile with these weights and spectrum
    cards = {"ROBUST": params.robust, "ALPHA": params.spectral_index}
    note = "clean components, apparent Stokes I"
    fits_images.write_image(
        paths["model-image"], flat, cleaned.model, freq_hz=effective_freq_hz, note=note, unit="Jy/pixel", cards=cards
    )


def _draw(images: Images, paths: Mapping[str, Path], verdict: VerdictRecord) -> PreviewFrame:
    info, figures = images.info, images.figures
    seconds = (info.times_mjd[-1] - info.times_mjd[0]) * 86400.0 + info.integration_sec
    preview = Preview(
        image=images.cleaned.flat,
        response=images.response,
        rms_jy=figures.rms_jy,
        title=Path(info.path).name.removesuffix(".ms").removesuffix(".calibrated"),
        subtitle=(
            f"{info.freqs_hz.min() / 1e9:.3f}–{info.freqs_hz.max() / 1e9:.3f} GHz, {seconds:.0f} s, "
            f"rms {figures.rms_jy * 1e3:.2f} mJy/beam, {verdict.verdict}"
        ),
    )
    draw_thumbnail(preview, paths["thumbnail"])
    return draw_preview(preview, paths["preview"])


def _result(context: Context, paths: Mapping[str, Path], images: Images, verdict: VerdictRecord) -> ImagingResult:
    cleaned, figures, grid = images.cleaned, images.figures, images.grid
    beam = cleaned.flat.beam
    return ImagingResult(
        image_path=context.published(paths["image"]),
        flat_image_path=context.published(paths["flat-image"]),
        pb_path=context.published(paths["primary-beam"]),
        model_path=context.published(paths["model-image"]),
        residual_path=context.published(paths["residual-image"]),
        psf_path=context.published(paths["point-spread-function"]),
        preview_path=context.published(paths["preview"]),
        rms_jy=figures.rms_jy,
        peak_jy=figures.peak_jy,
        dynamic_range=figures.peak_jy / figures.rms_jy if figures.rms_jy > 0 else 0.0,
        beam_major_arcsec=beam.major_arcsec,
        beam_minor_arcsec=beam.minor_arcsec,
        beam_pa_deg=beam.pa_deg,
        thermal_rms_jy=figures.thermal_rms_jy,
        freq_hz=telescope.REFERENCE_FREQ_HZ,
        effective_freq_hz=images.weights.effective_freq_hz(images.info.freqs_hz),
        imsize_pix=grid.imsize_pix,
        cell_arcsec=grid.cell_arcsec,
        engine=images.engine,
        iterations=cleaned.iterations,
        major_cycles=cleaned.major_cycles,
        stop_reason=cleaned.stop_reason,
        verdict=verdict.verdict,
        reasons=verdict.all_reasons,
    )


def _declare(
    context: Context, paths: Mapping[str, Path], params: ImagingParams, result: ImagingResult, frame: PreviewFrame
) -> None:
    fields = [name for name in type(result).model_fields if not name.endswith("_path")]
    metrics = result.model_dump(include=set(fields) - {"verdict", "reasons"})
    details: dict[str, dict[str, Any]] = {
        "image": {"metrics": metrics, "verdict": result.verdict},
        "flat-image": {"metrics": {"rms_jy": result.rms_jy}, "verdict": result.verdict},
        "model-image": {"verdict": result.verdict},
        "residual-image": {"verdict": result.verdict},
        "preview": {"metrics": {"frame": frame.model_dump(mode="json")}},
    }
    for kind, path in paths.items():
        context.product(kind, path, inputs=[params.ms_path], **details.get(kind, {}))
