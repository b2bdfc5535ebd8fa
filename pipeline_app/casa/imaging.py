"""The `imaging` stage: tclean, the primary beam of a drifting sky, FITS files, a preview and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.stats import mad_std

from pipeline_app import telescope
from pipeline_app.casa import fits_images, measurement_set
from pipeline_app.casa.deconvolution import Cleaned, Grid, clean
from pipeline_app.casa.fits_images import SkyImage
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.pointing import beam_track
from pipeline_app.casa.preview import Preview, draw_preview
from pipeline_app.casa.response import effective_response
from pipeline_app.casa.weighting import ImagingWeights, imaging_weights
from pipeline_app.quality import Assessment, ImageFigures, judge_image
from pipeline_app.stages.imaging import ImagingParams, ImagingResult
from pipeline_app.verdicts import VerdictRecord, inherit, record_of_calibrated
from tasks_app.handler import Context, InvalidInput

PIXELS_PER_BEAM = 5.0
NYQUIST_MARGIN = 2.2
"""Pixels per fringe of the longest baseline; data beyond 2 would fall off the grid."""
MAX_SIZE_PIX = 8192
RESPONSE_CUTOFF = 0.1
"""The corrected image is blank where the effective response is less."""
W_PHASE_RAD = 0.125
"""Largest phase error that a w plane may leave at the edge of the field; four times this costs 1 % of a flux there."""
MAX_W_PLANES = 256


@dataclass(frozen=True, kw_only=True)
class _Paths:
    image: Path
    flat: Path
    response: Path
    preview: Path

    @classmethod
    def of(cls, context: Context, name: str) -> _Paths:
        return cls(
            image=context.output(f"{name}.image.fits"),
            flat=context.output(f"{name}.flat.fits"),
            response=context.output(f"{name}.pb.fits"),
            preview=context.output(f"{name}.png"),
        )


def run(params: ImagingParams, context: Context) -> ImagingResult:
    """Image a calibrated Measurement Set.

    Raises:
        InvalidInput: it cannot be read, all of it is flagged, or the image asked for is too large.
    """
    info = measurement_set.read_info(params.ms_path)
    track = beam_track(info)
    field_deg = (
        params.field_deg or telescope.beam_fwhm_deg(telescope.REFERENCE_FREQ_HZ * track.freq_factor) + track.drift_deg
    )
    if params.imsize_pix and params.cell_arcsec:
        field_deg = params.imsize_pix * params.cell_arcsec / 3600.0
    weights = imaging_weights(info, robust=params.robust, field_rad=math.radians(field_deg))
    grid = choose_grid(params, weights, field_deg)
    context.progress(
        0.05,
        f"cleaning {grid.imsize_pix} x {grid.imsize_pix} pixels of {grid.cell_arcsec:.2f}″, {grid.w_planes} w planes",
    )
    cleaned = clean(params, grid, context.scratch_dir)
    context.progress(0.8, "correcting for the primary beam")
    response = effective_response(
        cleaned.flat.wcs, cleaned.flat.data.shape, info, track, weights, spectral_index=params.spectral_index
    )
    paths = _Paths.of(context, Path(params.ms_path).name.removesuffix(".ms").removesuffix(".calibrated"))
    figures = measure(cleaned, response, weights)
    calibrated = record_of_calibrated(params.ms_path, calibrated_elsewhere=params.calibrated_elsewhere)
    verdict = inherit("imaging", judge_image(figures), [calibrated])
    assessment = Assessment(verdict=verdict.verdict, reasons=tuple(verdict.all_reasons))
    _write(cleaned.flat, response, paths, params, weights.effective_freq_hz(info.freqs_hz), verdict)
    context.progress(0.9, "drawing the preview")
    _draw(cleaned.flat, response, paths.preview, info, figures, assessment)
    result = _result(context, paths, info, weights, grid, cleaned, figures, assessment)
    _declare(context, paths, params, result)
    context.progress(1.0, f"image {assessment.verdict}: rms {figures.rms_jy * 1e3:.2f} mJy/beam")
    return result


def choose_grid(params: ImagingParams, weights: ImagingWeights, field_deg: float) -> Grid:
    """Return pixel, size and w planes: what the params say, else what the uv coverage needs.

    Raises:
        InvalidInput: the image would be larger than 8192 pixels.
    """
    nyquist_arcsec = math.degrees(1.0 / (NYQUIST_MARGIN * weights.max_uv_wavelengths)) * 3600.0
    cell_arcsec = params.cell_arcsec or round(min(weights.beam_arcsec / PIXELS_PER_BEAM, nyquist_arcsec), 2)
    imsize_pix = params.imsize_pix or fast_size(math.ceil(field_deg * 3600.0 / cell_arcsec))
    if imsize_pix > MAX_SIZE_PIX:
        raise InvalidInput(f"an image of {imsize_pix} pixels a side is too large (limit {MAX_SIZE_PIX})")
    edge_rad = math.radians(imsize_pix * cell_arcsec / 3600.0) / 2.0
    planes = math.ceil(math.pi * weights.max_w_wavelengths * edge_rad**2 / W_PHASE_RAD)
    w_planes = params.w_planes or min(max(planes, 1), MAX_W_PLANES)
    return Grid(imsize_pix=imsize_pix, cell_arcsec=cell_arcsec, w_planes=w_planes)


def fast_size(at_least: int) -> int:
    """Return the next even size whose only prime factors are 2, 3 and 5: quick to transform."""
    size = at_least + at_least % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


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


def _write(
    flat: SkyImage,
    response: np.ndarray,
    paths: _Paths,
    params: ImagingParams,
    effective_freq_hz: float,
    verdict: VerdictRecord,
) -> None:
    corrected = np.where(response >= RESPONSE_CUTOFF, flat.data / np.maximum(response, RESPONSE_CUTOFF), np.nan)
    note = f"Stokes I at 1.405 GHz, primary-beam corrected, alpha {params.spectral_index:g}"
    fits_images.write_image(
        paths.flat, flat, flat.data, freq_hz=effective_freq_hz, note="apparent Stokes I", verdict=verdict
    )
    fits_images.write_image(
        paths.image, flat, corrected, freq_hz=telescope.REFERENCE_FREQ_HZ, note=note, verdict=verdict
    )
    fits_images.write_image(
        paths.response,
        flat,
        response,
        freq_hz=telescope.REFERENCE_FREQ_HZ,
        note="flat image over this is Stokes I at 1.405 GHz",
        unit="",
    )


def _draw(
    flat: SkyImage,
    response: np.ndarray,
    path: Path,
    info: MeasurementSetInfo,
    figures: ImageFigures,
    assessment: Assessment,
) -> None:
    seconds = (info.times_mjd[-1] - info.times_mjd[0]) * 86400.0 + info.integration_sec
    draw_preview(
        Preview(
            image=flat,
            response=response,
            rms_jy=figures.rms_jy,
            title=Path(info.path).name.removesuffix(".ms").removesuffix(".calibrated"),
            subtitle=(
                f"{info.freqs_hz.min() / 1e9:.3f}–{info.freqs_hz.max() / 1e9:.3f} GHz, {seconds:.0f} s, "
                f"rms {figures.rms_jy * 1e3:.2f} mJy/beam, {assessment.verdict}"
            ),
        ),
        path,
    )


def _result(
    context: Context,
    paths: _Paths,
    info: MeasurementSetInfo,
    weights: ImagingWeights,
    grid: Grid,
    cleaned: Cleaned,
    figures: ImageFigures,
    assessment: Assessment,
) -> ImagingResult:
    beam = cleaned.flat.beam
    return ImagingResult(
        image_path=context.published(paths.image),
        flat_image_path=context.published(paths.flat),
        pb_path=context.published(paths.response),
        preview_path=context.published(paths.preview),
        rms_jy=figures.rms_jy,
        peak_jy=figures.peak_jy,
        dynamic_range=figures.peak_jy / figures.rms_jy if figures.rms_jy > 0 else 0.0,
        beam_major_arcsec=beam.major_arcsec,
        beam_minor_arcsec=beam.minor_arcsec,
        beam_pa_deg=beam.pa_deg,
        thermal_rms_jy=figures.thermal_rms_jy,
        freq_hz=telescope.REFERENCE_FREQ_HZ,
        effective_freq_hz=weights.effective_freq_hz(info.freqs_hz),
        imsize_pix=grid.imsize_pix,
        cell_arcsec=grid.cell_arcsec,
        w_planes=grid.w_planes,
        iterations=cleaned.iterations,
        stop_reason=cleaned.stop_reason,
        verdict=assessment.verdict,
        reasons=list(assessment.reasons),
    )


def _declare(context: Context, paths: _Paths, params: ImagingParams, result: ImagingResult) -> None:
    inputs = [params.ms_path]
    metrics = result.model_dump(
        exclude={"image_path", "flat_image_path", "pb_path", "preview_path", "verdict", "reasons"}
    )
    context.product("image", paths.image, metrics=metrics, verdict=result.verdict, inputs=inputs)
    context.product("flat-image", paths.flat, metrics={"rms_jy": result.rms_jy}, verdict=result.verdict, inputs=inputs)
    context.product("primary-beam", paths.response, inputs=inputs)
    context.product("preview", paths.preview, inputs=inputs)
