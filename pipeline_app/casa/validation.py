"""The `validation` stage: forced fluxes of the sources that the catalogue says should be seen, judged together."""

from __future__ import annotations

import json

import numpy as np
from astropy.stats import mad_std

from pipeline_app.casa import photometry
from pipeline_app.casa.reporting import steadily
from pipeline_app.quality import ValidationFigures, judge_validation
from pipeline_app.stages.photometry import IMAGE_FIELDS, Measurement, PhotometryParams
from pipeline_app.stages.validation import RECORD_NAME, ValidatedSource, ValidationParams, ValidationResult
from pipeline_app.verdicts import VerdictRecord, inherit, read_record_file
from tasks_app.engine.handler import Context

DETECTION_SNR = 5.0
MEDIAN_EFFICIENCY = 1.2533
"""Standard error of a median over that of a mean, for a Gaussian."""


@steadily
def run(params: ValidationParams, context: Context) -> ValidationResult:
    """Compare an image with a catalogue.

    Raises:
        InvalidInput: an image, the catalogue or a record cannot be read.
    """
    positions = photometry.positions_of(params)
    images = PhotometryParams(
        **{name: getattr(params, name) for name in IMAGE_FIELDS},
        positions=params.positions,
        catalog_path=params.catalog_path,
        min_primary_beam=params.min_primary_beam,
    )
    sky = photometry.load_sky(images)
    rms_jy = float(mad_std(sky.flat.data, ignore_nan=True))
    with_flux = [p for p in positions if p.flux_jy is not None and p.flux_jy > 0]
    placed = [found for p in with_flux if (found := photometry.place(p, sky, params.min_primary_beam)) is not None]
    n_at_edge = sum(p.at_edge for p in placed)
    context.progress(0.2, f"measuring {len(placed) - n_at_edge} catalogue sources")
    # All are fitted, so that faint neighbours are not added to the bright ones; the catalogue's bright ones are judged.
    measured = photometry.measure(placed, sky, 0.0)
    sources = expected_sources(measured, rms_jy, min_snr=params.min_snr)
    beam_arcsec = sky.flat.beam.mean_arcsec
    inputs = [sky.flat.verdict]
    if params.self_calibration_path is not None:
        inputs.append(read_record_file(params.self_calibration_path, "self-calibration"))
    figures = figures_of(sources, len(measured), n_at_edge, beam_arcsec)
    record = inherit("validation", judge_validation(figures), inputs)
    offset_beams = figures.offset_median_beams
    result = ValidationResult(
        record_path=context.published(context.output(RECORD_NAME)),
        rms_jy=rms_jy,
        n_catalog=figures.n_catalog,
        n_at_edge=n_at_edge,
        n_expected=figures.n_expected,
        n_missing=figures.n_missing,
        flux_ratio_median=figures.flux_ratio_median,
        flux_ratio_error=figures.flux_ratio_error,
        offset_median_arcsec=None if offset_beams is None else offset_beams * beam_arcsec,
        sources=sources,
        verdict=record.verdict,
        reasons=record.all_reasons,
    )
    _write(context, params, record, result)
    return result


def expected_sources(measured: list[Measurement], rms_jy: float, *, min_snr: float) -> list[ValidatedSource]:
    """Return the sources whose catalogue flux promises `min_snr`, as they were measured."""
    sources = []
    for found in measured:
        if found.catalog_flux_jy is None:
            continue
        predicted = found.catalog_flux_jy * found.primary_beam / rms_jy if rms_jy > 0 else 0.0
        if predicted >= min_snr:
            sources.append(
                ValidatedSource(
                    name=found.name,
                    catalog_flux_jy=found.catalog_flux_jy,
                    predicted_snr=predicted,
                    flux_jy=found.flux_jy,
                    ratio=found.flux_jy / found.catalog_flux_jy,
                    snr=found.snr,
                    offset_arcsec=found.offset_arcsec,
                    detected=found.snr >= DETECTION_SNR,
                )
            )
    return sources


def figures_of(sources: list[ValidatedSource], n_catalog: int, n_at_edge: int, beam_arcsec: float) -> ValidationFigures:
    """Return the figures over the expected sources."""
    ratios = np.array([source.ratio for source in sources])
    offsets = [s.offset_arcsec for s in sources if s.detected and s.offset_arcsec is not None]
    error = MEDIAN_EFFICIENCY * float(mad_std(ratios)) / np.sqrt(len(ratios)) if len(ratios) > 2 else None
    return ValidationFigures(
        n_catalog=n_catalog,
        n_at_edge=n_at_edge,
        n_expected=len(sources),
        n_missing=sum(not source.detected for source in sources),
        flux_ratio_median=float(np.median(ratios)) if len(ratios) else None,
        flux_ratio_error=error,
        offset_median_beams=float(np.median(offsets)) / beam_arcsec if offsets else None,
    )


def _write(context: Context, params: ValidationParams, record: VerdictRecord, result: ValidationResult) -> None:
    output = context.output(RECORD_NAME)
    document = record.model_dump() | {"validation": result.model_dump(exclude={"record_path", "verdict", "reasons"})}
    output.write_text(json.dumps(document, indent=1), encoding="utf-8")
    paths = [getattr(params, name) for name in (*IMAGE_FIELDS, "catalog_path")]
    context.product(
        "validation",
        output,
        metrics=result.model_dump(exclude={"record_path", "sources", "verdict", "reasons"}),
        verdict=record.verdict,
        inputs=[path for path in (*paths, params.self_calibration_path) if path],
    )
    context.progress(
        1.0, f"{result.n_expected - result.n_missing} of {result.n_expected} catalogue sources seen: {record.verdict}"
    )
