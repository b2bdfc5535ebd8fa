"""The `photometry` stage: forced fluxes at catalogue positions, with their errors."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from pipeline_app.casa import dirty_fit, forced_fit
from pipeline_app.casa.dirty_fit import DirtySky
from pipeline_app.casa.fits_images import SkyImage, read_image, read_plane
from pipeline_app.casa.forced_fit import BeamShape, Fit, centroid_offset_pix, group_blends
from pipeline_app.casa.reporting import steadily
from pipeline_app.catalogs import read_catalog
from pipeline_app.quality import PhotometryFigures, judge_photometry
from pipeline_app.stages.photometry import IMAGE_FIELDS, Measurement, PhotometryParams, PhotometryResult, Position
from pipeline_app.stages.validation import ValidationParams
from pipeline_app.verdicts import inherit, read_record_file
from tasks_app.engine.handler import Context, InvalidInput

MIN_SNR_OFFSET = 10.0
"""A centroid is worth fitting above this."""
CONFUSED_BEAMS = 0.5
"""Positions closer than this cannot be separated."""
MARGIN_BEAMS = dirty_fit.OWN_BEAMS
"""From a position to the image's edge: the pixels of a fit, and the components that are its source's, end here."""
COLUMNS = tuple(Measurement.model_fields)
_INPUTS = (*IMAGE_FIELDS, "catalog_path", "validation_path")


@dataclass(frozen=True, kw_only=True)
class _Sky:
    """The image to measure on, its response, and the factor to the reference frequency."""

    flat: SkyImage
    response: NDArray[np.float64]
    to_reference: float
    shape: BeamShape
    dirty: DirtySky | None = None
    """What the deconvolution left and found; None: the restored image is all there is."""


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A position of the image, inside the beam, with its pixel."""

    position: Position
    x: float
    y: float
    response: float
    at_edge: bool
    """Nearer to the edge than a fit needs: fitted with its neighbours, but not a measurement."""


@steadily
def run(params: PhotometryParams, context: Context) -> PhotometryResult:
    """Measure all positions.

    Raises:
        InvalidInput: an image or the catalogue cannot be read, or the images do not match.
    """
    positions = positions_of(params)
    sky = load_sky(params)
    placed = [found for found in (place(p, sky, params.min_primary_beam) for p in positions) if found is not None]
    n_at_edge = sum(p.at_edge for p in placed)
    context.progress(0.3, f"measuring {len(placed) - n_at_edge} of {len(positions)} positions")
    inputs = [sky.flat.verdict]
    if params.validation_path is not None:
        inputs.append(read_record_file(params.validation_path, "validation"))
    in_proportion = float(np.hypot(params.fractional_error, max(record.flux_scale_error for record in inputs)))
    measurements = measure(placed, sky, in_proportion)
    figures = _figures(measurements, placed, sky, n_outside=len(positions) - len(measurements), n_at_edge=n_at_edge)
    verdict = inherit("photometry", judge_photometry(figures), inputs)
    measurements = [m.model_copy(update={"verdict": verdict.verdict}) for m in measurements]
    table = context.output(f"{Path(params.image_path).name.split('.')[0]}.photometry.csv")
    write_csv(table, measurements)
    result = PhotometryResult(
        measurements=measurements,
        photometry_path=context.published(table),
        n_outside=figures.n_outside,
        n_at_edge=n_at_edge,
        flux_ratio_median=figures.flux_ratio_median,
        offset_median_arcsec=_median_offset_arcsec(measurements),
        freq_hz=params.reference_freq_hz,
        fractional_error=in_proportion,
        verdict=verdict.verdict,
        reasons=verdict.all_reasons,
    )
    paths = [path for name in _INPUTS if (path := getattr(params, name))]
    context.product(
        "photometry",
        table,
        metrics=result.model_dump(exclude={"measurements", "photometry_path", "verdict", "reasons"})
        | {"n_measured": len(measurements)},
        verdict=result.verdict,
        inputs=paths,
    )
    outside = f"{result.n_outside} positions outside the image or the beam, {n_at_edge} of them at the image's edge"
    context.progress(1.0, f"{len(measurements)} fluxes, {outside}")
    return result


def positions_of(params: PhotometryParams | ValidationParams) -> list[Position]:
    """Return the positions that the params give and name."""
    return [*params.positions, *(read_catalog(params.catalog_path) if params.catalog_path is not None else ())]


def load_sky(params: PhotometryParams) -> _Sky:
    """Read the images; of corrected, uncorrected and response any two give the third."""
    image = read_image(params.image_path)
    flat = read_image(params.flat_image_path) if params.flat_image_path else None
    response = read_image(params.pb_path).data if params.pb_path else None
    for other in (flat.data if flat else None, response):
        if other is not None and other.shape != image.data.shape:
            raise InvalidInput(f"images of different size: {image.data.shape} and {other.shape}")
    if flat is None and response is not None:
        flat = SkyImage(data=image.data * response, header=image.header, wcs=image.wcs, beam=image.beam)
    if flat is None:
        raise InvalidInput("needs the uncorrected image or the response besides the corrected image")
    if response is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            response = flat.data / image.data
    scale = 1.0
    if image.freq_hz:
        scale = (params.reference_freq_hz / image.freq_hz) ** params.spectral_index
    return _Sky(
        flat=flat,
        response=response,
        to_reference=scale,
        shape=BeamShape.of(flat.beam, flat.cell_arcsec),
        dirty=_load_dirty(params, flat.data.shape),
    )


def _load_dirty(params: PhotometryParams, shape: tuple[int, ...]) -> DirtySky | None:
    paths = (params.residual_path, params.model_path, params.psf_path)
    if any(path is None for path in paths):
        return None
    planes = [read_plane(path) for path in paths if path is not None]
    for plane, path in zip(planes, paths, strict=True):
        if plane.shape != shape:
            raise InvalidInput(f"images of different size: {path} has {plane.shape}, the restored image {shape}")
    return DirtySky(residual=planes[0], model=planes[1], psf=planes[2])


def place(position: Position, sky: _Sky, min_primary_beam: float) -> _Placed | None:
    """Return a position's pixel, None when it is outside the image or the response there is too low."""
    x, y = (float(v) for v in sky.flat.wcs.all_world2pix(position.ra_deg, position.dec_deg, 0))
    if not (np.isfinite(x) and np.isfinite(y)):
        return None
    # world2pix folds the far side of the sky onto the image
    back = sky.flat.wcs.all_pix2world(x, y, 0)
    if abs(float(back[1]) - position.dec_deg) > 1e-6 + sky.flat.cell_arcsec / 3600.0:
        return None
    height, width = sky.flat.data.shape
    to_edge = min(x, width - 1 - x, y, height - 1 - y)
    if to_edge <= -0.5:
        return None
    response = float(map_coordinates(sky.response, [[y], [x]], order=1, mode="nearest")[0])
    if not np.isfinite(response) or response < min_primary_beam:
        return None
    at_edge = to_edge < MARGIN_BEAMS * sky.shape.major_pix
    return _Placed(position=position, x=x, y=y, response=response, at_edge=at_edge)


def measure(placed: list[_Placed], sky: _Sky, fractional_error: float) -> list[Measurement]:
    """Fit every group of blended sources; the measurements keep the order of the positions not at the edge."""
    x, y = np.array([p.x for p in placed]), np.array([p.y for p in placed])
    groups = group_blends(x, y, sky.shape)
    if sky.dirty is not None:
        fitted = dirty_fit.fit_all(sky.dirty, x, y, groups, sky.shape)
    else:
        fitted = forced_fit.fit_all(sky.flat.data, x, y, groups, sky.shape)
    found: dict[int, Measurement] = {}
    for group in groups:
        fits = [fitted[index] for index in group]
        for which, index in enumerate(group):
            if placed[index].at_edge:
                continue
            offset_arcsec = None
            if fits[which].peak_jy > MIN_SNR_OFFSET * fits[which].error_jy:
                peaks = [fit.peak_jy for fit in fits]
                offset_pix = centroid_offset_pix(sky.flat.data, x[group], y[group], peaks, which, sky.shape)
                offset_arcsec = offset_pix * sky.flat.cell_arcsec
            found[int(index)] = _measurement(placed[index], fits[which], sky, fractional_error, offset_arcsec)
    return [found[index] for index in sorted(found)]


def _measurement(
    placed: _Placed, fit: Fit, sky: _Sky, fractional_error: float, offset_arcsec: float | None
) -> Measurement:
    factor = sky.to_reference / placed.response
    flux_jy = fit.peak_jy * factor
    return Measurement(
        name=placed.position.name,
        ra_deg=placed.position.ra_deg,
        dec_deg=placed.position.dec_deg,
        flux_jy=flux_jy,
        flux_err_jy=float(np.hypot(fit.error_jy * factor, fractional_error * flux_jy)),
        snr=fit.peak_jy / fit.error_jy if fit.error_jy > 0 else 0.0,
        offset_arcsec=offset_arcsec,
        catalog_flux_jy=placed.position.flux_jy,
        local_rms_jy=fit.local_rms_jy,
        primary_beam=placed.response,
    )


def write_csv(path: Path, measurements: list[Measurement]) -> None:
    """Write the measurements, one line a source, an empty cell where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fieldnames=COLUMNS)
        writer.writeheader()
        for measurement in measurements:
            writer.writerow({k: "" if v is None else v for k, v in measurement.model_dump().items()})


def _figures(
    measurements: list[Measurement], placed: list[_Placed], sky: _Sky, *, n_outside: int, n_at_edge: int
) -> PhotometryFigures:
    ratios = [m.flux_jy / m.catalog_flux_jy for m in measurements if m.snr > MIN_SNR_OFFSET and m.catalog_flux_jy]
    offset_arcsec = _median_offset_arcsec(measurements)
    return PhotometryFigures(
        n_measured=len(measurements),
        n_outside=n_outside,
        n_at_edge=n_at_edge,
        n_reference=len(ratios),
        flux_ratio_median=float(np.median(ratios)) if ratios else None,
        offset_median_beams=offset_arcsec / sky.flat.beam.mean_arcsec if offset_arcsec is not None else None,
        n_confused=_confused(placed, sky.shape),
    )


def _median_offset_arcsec(measurements: list[Measurement]) -> float | None:
    offsets = [m.offset_arcsec for m in measurements if m.offset_arcsec is not None]
    return float(np.median(offsets)) if offsets else None


def _confused(placed: list[_Placed], shape: BeamShape) -> int:
    """Return how many measured positions have another one too close to be separated."""
    x, y = np.array([p.x for p in placed]), np.array([p.y for p in placed])
    close = np.hypot(x[:, None] - x, y[:, None] - y) < CONFUSED_BEAMS * shape.major_pix
    measured = np.array([not p.at_edge for p in placed], dtype=bool)
    return int(((close.sum(axis=1) > 1) & measured).sum())
