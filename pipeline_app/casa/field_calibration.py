"""Gains and the fluxes of the calibrator's field, solved in turn, and the flux scale that they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa import field_sources, residuals
from pipeline_app.casa.calibrator_field import CataloguedSource
from pipeline_app.casa.gain_solver import Sky, SmoothGains, smooth_gains, solve, still
from pipeline_app.casa.model import PointSource
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.residuals import Agreement
from pipeline_app.casa.tile_cube import TileCube

MAX_ROUNDS = 8
FLAG_ROUNDS = 2
"""First rounds, which flag what the model does not explain."""
PHASE_ROUNDS = (2,)
REFINE_ROUNDS = (2, 4)
IMAGE_ROUNDS = 3
"""First rounds, which search for sources in an image of the residuals."""
REFINE_SNR = 20.0
"""Positions of found sources are refined above this signal to noise; below, the image has them well enough."""
KEEP_SIGMA = 5.0
"""A found source stays in the model above this signal to noise."""
CONVERGED_FRACTION = 0.003
CONVERGED_SIGMA = 0.3
"""Fluxes are done when none changes by more than this part of itself or this many times its error."""


@dataclass(frozen=True, kw_only=True)
class FittedSource:
    """A source of the field with the flux that the tile shows."""

    source: PointSource
    error_jy: float
    catalogue_flux_jy: float | None


@dataclass(frozen=True, kw_only=True)
class FieldCalibration:
    """What a tile yields."""

    smoothed: SmoothGains
    noise: float
    """Rms of one component of a levelled visibility."""
    fitted: tuple[FittedSource, ...]
    agreement: Agreement
    phase_drift_deg: float
    """Largest change of an antenna's phase within the tile that was followed."""


def calibrate_field(
    cube: TileCube,
    track: BeamTrack,
    calibrator: PointSource,
    catalogued: Sequence[CataloguedSource],
    refant: int,
    *,
    find: bool,
    progress: Callable[[float, str], None],
) -> FieldCalibration:
    """Solve for the gains of a tile; `find` also searches for sources that no catalogue has.

    The flux of the calibrator is fixed and sets the scale; positions of catalogued sources are the catalogue's.
    """
    sky = Sky.of([calibrator, *(one.source for one in catalogued)], cube, track)
    known = {one.source.name for one in catalogued}
    turns, noise = still(cube), 0.0
    raw, smoothed = None, None
    errors_jy = np.zeros(0)
    for number in range(1, MAX_ROUNDS + 1):
        part = (number - 1) / MAX_ROUNDS
        progress(part, f"round {number}: solving for gains, {len(sky.sources)} sources in the model")
        raw = solve(cube, sky, turns, raw.gains if raw else None, halves=number == 1)
        smoothed = smooth_gains(raw, cube, refant, smoothed.half_widths if smoothed else None)
        if number <= FLAG_ROUNDS:
            progress(part, f"round {number}: comparing data and model")
            noise = residuals.flag_residuals(cube, sky, smoothed.gains, turns)
        if number in PHASE_ROUNDS:
            progress(part, f"round {number}: following phases")
            turns = residuals.follow_phases(cube, sky, smoothed.gains, noise, refant)
        progress(part, f"round {number}: fitting the fluxes of the field")
        left = field_sources.measure_residuals(cube, sky, smoothed, turns, noise)
        sky, errors_jy, done = _update(sky, left, known, cube, track)
        if find and number in REFINE_ROUNDS:
            progress(part, f"round {number}: refining positions")
            bright = {s.name for s, e in zip(sky.sources[1:], errors_jy, strict=True) if s.flux_jy > REFINE_SNR * e}
            moved = field_sources.refine_positions(cube, track, sky, smoothed, turns, bright - known)
            sky = Sky.of(moved, cube, track)
        if find and number <= IMAGE_ROUNDS:
            progress(part, f"round {number}: imaging what the model lacks")
            found = field_sources.find_sources(left, cube, track, sky.sources)
            sky, done = (Sky.of([*sky.sources, *found], cube, track), False) if found else (sky, done)
        if done and number >= FLAG_ROUNDS:
            break
    progress(0.95, "solving once more, and from halves of the integrations")
    raw = solve(cube, sky, turns, raw.gains if raw else None)
    smoothed = smooth_gains(raw, cube, refant)
    progress(1.0, "comparing with the integrations that were held out")
    agreement = residuals.measure_agreement(cube, sky, smoothed.halves)
    fluxes = {one.source.name: one.catalogue_flux_jy for one in catalogued}
    return FieldCalibration(
        smoothed=smoothed,
        noise=noise,
        fitted=tuple(
            FittedSource(source=source, error_jy=float(error), catalogue_flux_jy=fluxes.get(source.name))
            for source, error in zip(sky.sources[1:], errors_jy, strict=False)  # the last image's are not fitted yet
        ),
        agreement=agreement,
        phase_drift_deg=float(np.degrees(np.abs(np.angle(turns)).max())),
    )


def _update(
    sky: Sky, left: field_sources.Residuals, known: set[str], cube: TileCube, track: BeamTrack
) -> tuple[Sky, NDArray[np.float64], bool]:
    """Return the sky with the fluxes that the residuals ask for, their errors, and whether nothing changed by much.

    A found source that is not there is left out. A catalogued one stays, with what is seen of it but at least nothing.
    """
    sources, errors_jy, changed = [sky.sources[0]], [], False
    for source, change, error in zip(sky.sources[1:], left.flux_changes_jy, left.errors_jy, strict=True):
        flux_jy = source.flux_jy + float(change)
        if source.name not in known and flux_jy < KEEP_SIGMA * error:
            changed = True
            continue
        changed |= abs(change) > max(CONVERGED_FRACTION * abs(flux_jy), CONVERGED_SIGMA * error)
        sources.append(replace(source, flux_jy=max(flux_jy, 0.0) if source.name in known else flux_jy))
        errors_jy.append(float(error))
    return Sky.of(sources, cube, track), np.array(errors_jy), not changed


MIN_PREDICTED_SNR = 10.0
"""Sources are chosen by what the catalogue promises, never by what was measured: one that is missing counts."""


@dataclass(frozen=True, kw_only=True)
class FluxScale:
    """Fitted over catalogue flux."""

    n_references: int = 0
    ratio_median: float | None = None
    ratio_error: float | None = None
    """Of the median, from the scatter of the ratios; None with fewer than three."""


def flux_scale_error(scale: FluxScale, amplitude_ratio: float | None) -> float:
    """Return the error in proportion of all fluxes that a calibration gives, as far as its own tile shows it.

    Part is what the gains lose on integrations that they were not solved from (`amplitude_ratio`), as they will on
    another tile; part is by how much the field's catalogued sources are off their catalogue, beyond their scatter. The
    noise of the gains is in both.
    """
    lost = 0.0 if amplitude_ratio is None else 1.0 - amplitude_ratio
    off = 0.0
    if scale.ratio_median is not None and scale.ratio_error is not None:
        off = max(0.0, abs(scale.ratio_median - 1.0) - scale.ratio_error)
    return float(np.hypot(lost, off))


def compare_fluxes(fitted: Sequence[FittedSource], catalogued: Sequence[str]) -> FluxScale:
    """Compare the fitted fluxes of the catalogued sources with the catalogue's.

    Every flux of the field is relative to the calibrator's, which is taken from its table: a calibrator that is
    brighter than the table says makes all the others too faint by the same factor.
    """
    ratios = [
        one.source.flux_jy / one.catalogue_flux_jy
        for one in fitted
        if one.source.name in catalogued
        and one.catalogue_flux_jy
        and one.catalogue_flux_jy > MIN_PREDICTED_SNR * one.error_jy
    ]
    if not ratios:
        return FluxScale()
    median = float(np.median(ratios))
    # the median of n values scatters by 1.2533 sigma / sqrt(n); sigma from the median absolute deviation
    spread = 1.4826 * float(np.median(np.abs(np.array(ratios) - median)))
    error = 1.2533 * spread / np.sqrt(len(ratios)) if len(ratios) >= 3 else None
    return FluxScale(n_references=len(ratios), ratio_median=median, ratio_error=error)
