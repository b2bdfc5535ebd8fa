"""Gains and the fluxes of the calibrator's field, solved in turn until neither changes."""

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
IMAGE_ROUNDS = 4
"""Rounds that look for sources in an image of the residuals."""
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
    rounds: int


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
    """Solve for the gains of a tile; `find` also looks for sources that no catalogue has.

    The flux of the calibrator is fixed and sets the scale; positions of catalogued sources are the catalogue's.
    """
    sky = Sky.of([calibrator, *(one.source for one in catalogued)], cube, track)
    known = {one.source.name for one in catalogued}
    turns = still(cube)
    gains: NDArray[np.complex128] | None = None
    errors_jy = np.zeros(0)
    for number in range(1, MAX_ROUNDS + 1):
        part = (number - 1) / MAX_ROUNDS
        progress(part, f"round {number}: solving for gains, {len(sky.sources)} sources in the model")
        raw = solve(cube, sky, turns, gains)
        gains = raw.gains
        smoothed = smooth_gains(raw, cube, refant)
        progress(part, f"round {number}: comparing data and model")
        noise = residuals.flag_residuals(cube, sky, smoothed.gains, turns)
        if number == 1:
            turns = residuals.follow_phases(cube, sky, smoothed.gains, noise, refant)
        progress(part, f"round {number}: fitting the fluxes of the field")
        left = field_sources.measure_residuals(cube, sky, smoothed, turns, noise)
        errors_jy = left.errors_jy
        before = len(sky.sources)
        sky, done = _update(sky, left, known, cube, track)
        kept = before == len(sky.sources)
        snr = np.array([s.flux_jy for s in sky.sources[1:]]) / errors_jy if kept else np.zeros(0)
        if find and number > 1 and kept and number <= IMAGE_ROUNDS + 1:
            progress(part, f"round {number}: refining positions")
            bright = {s.name for s, ratio in zip(sky.sources[1:], snr, strict=True) if ratio > REFINE_SNR} - known
            sky = Sky.of(field_sources.refine_positions(cube, track, sky, smoothed, turns, bright), cube, track)
        if find and number <= IMAGE_ROUNDS:
            progress(part, f"round {number}: imaging what the model lacks")
            found = field_sources.find_sources(left, cube, track, sky.sources)
            sky, done = (Sky.of([*sky.sources, *found], cube, track), False) if found else (sky, done)
        if done and kept and number > 1:
            break
    progress(1.0, "comparing with the integrations that were held out")
    agreement = residuals.measure_agreement(cube, sky, smoothed.halves)
    fluxes = {one.source.name: one.catalogue_flux_jy for one in catalogued}
    return FieldCalibration(
        smoothed=smoothed,
        noise=noise,
        fitted=tuple(
            FittedSource(source=source, error_jy=float(error), catalogue_flux_jy=fluxes.get(source.name))
            for source, error in zip(sky.sources[1:], errors_jy, strict=False)
        ),
        agreement=agreement,
        phase_drift_deg=float(np.degrees(np.abs(np.angle(turns)).max())),
        rounds=number,
    )


def _update(
    sky: Sky, left: field_sources.Residuals, known: set[str], cube: TileCube, track: BeamTrack
) -> tuple[Sky, bool]:
    """Return the sky with the fluxes that the residuals ask for, without sources that are not there; and if it is done.

    A catalogued source that is not there stays, with what is seen of it but at least nothing.
    """
    sources, changed = [sky.sources[0]], False
    for source, change, error in zip(sky.sources[1:], left.flux_changes_jy, left.errors_jy, strict=True):
        flux_jy = source.flux_jy + float(change)
        if source.name not in known and flux_jy < KEEP_SIGMA * error:
            changed = True
            continue
        changed |= abs(change) > max(CONVERGED_FRACTION * abs(flux_jy), CONVERGED_SIGMA * error)
        sources.append(replace(source, flux_jy=max(flux_jy, 0.0) if source.name in known else flux_jy))
    return Sky.of(sources, cube, track), not changed
