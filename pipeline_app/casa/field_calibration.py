"""Gains and fluxes of a calibrator's field: what it is solved with, the solution, and the flux scale that it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.calibrators import Calibrator, UnknownCalibrator, calibrator, calibrators
from pipeline_app.casa import field_sources, residuals
from pipeline_app.casa.gain_solver import Sky, SmoothGains, smooth_gains, solve, still
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.model import PointSource
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.residuals import Agreement
from pipeline_app.casa.tile_cube import TileCube
from pipeline_app.stages.calibration_solve import FieldSource
from tasks_app.engine.handler import InvalidInput

MAIN_LOBE_DEG = 2.5
"""Inside the first null, 3.2 degrees at 1.405 GHz; scaled with the dish."""
SAME_SOURCE_DEG = 15.0 / 3600
"""Entries of two catalogues that lie closer are the same source: a fourth of the beam."""


@dataclass(frozen=True, kw_only=True)
class ChosenCalibrator:
    """A calibrator and how bright it arrives."""

    entry: Calibrator
    apparent_flux_jy: float

    @property
    def source(self) -> PointSource:
        return as_source(self.entry)


@dataclass(frozen=True, kw_only=True)
class CataloguedSource:
    """A source of the field whose position is known."""

    source: PointSource
    """With the flux that the model begins with."""
    catalogue_flux_jy: float | None


def as_source(entry: Calibrator) -> PointSource:
    """Return a calibrator of the table as a source of the model; it must have a flux."""
    return PointSource(
        name=entry.name,
        ra_deg=entry.ra_deg,
        dec_deg=entry.dec_deg,
        flux_jy=entry.flux_at(telescope.REFERENCE_FREQ_HZ),
        alpha=entry.alpha or 0.0,
    )


def choose_calibrator(track: BeamTrack, name: str | None = None) -> ChosenCalibrator | None:
    """Return the named calibrator, or the one that arrives brightest, beam included; None when none is near.

    A calibrator without a known flux is never chosen: there is no default flux.

    Raises:
        InvalidInput: the table has no such name, or no flux for it.
    """
    if name is not None:
        try:
            entry = calibrator(name)
            flux_jy = entry.flux_at(telescope.REFERENCE_FREQ_HZ)
        except (UnknownCalibrator, ValueError) as error:
            raise InvalidInput(str(error)) from error
        return ChosenCalibrator(entry=entry, apparent_flux_jy=flux_jy * _mean_response(entry, track))
    apparent = [(entry, entry.flux_jy * _mean_response(entry, track)) for entry in _near(track) if entry.flux_jy]
    if not apparent:
        return None
    entry, flux_jy = max(apparent, key=lambda pair: pair[1])
    return ChosenCalibrator(entry=entry, apparent_flux_jy=flux_jy)


def catalogued_sources(
    chosen: ChosenCalibrator, track: BeamTrack, given: Sequence[FieldSource]
) -> list[CataloguedSource]:
    """Return the known sources of the field but the calibrator: those given first, then those of the table.

    Two within `SAME_SOURCE_DEG` are one.
    """
    listed = [
        CataloguedSource(
            source=PointSource(
                name=source.name,
                ra_deg=source.ra_deg,
                dec_deg=source.dec_deg,
                flux_jy=source.flux_jy or 0.0,
                alpha=source.alpha,
            ),
            catalogue_flux_jy=source.flux_jy,
        )
        for source in given
    ]
    listed += [
        # many calibrators vary: the fluxes of the table are compared with what is seen, and not used as a start
        CataloguedSource(source=replace(as_source(entry), flux_jy=0.0), catalogue_flux_jy=entry.flux_jy)
        for entry in calibrators()
        if entry.flux_jy is not None
    ]
    radius_deg = MAIN_LOBE_DEG / track.freq_factor
    kept: list[CataloguedSource] = []
    for one in listed:
        offset_deg = separation_deg(one.source, track.mid_ra_deg, track.mid_dec_deg)
        others = [chosen.source, *(other.source for other in kept)]
        if offset_deg < radius_deg and all(
            separation_deg(one.source, other.ra_deg, other.dec_deg) > SAME_SOURCE_DEG for other in others
        ):
            kept.append(one)
    return kept


def separation_deg(source: PointSource, ra_deg: float, dec_deg: float) -> float:
    """Return the distance of a source from an ICRS direction."""
    return float(telescope.angular_separation_deg(source.ra_deg, source.dec_deg, ra_deg, dec_deg))


def _near(track: BeamTrack) -> list[Calibrator]:
    radius_deg = MAIN_LOBE_DEG / track.freq_factor
    return [entry for entry in calibrators() if entry.offset_deg(track.mid_ra_deg, track.mid_dec_deg) < radius_deg]


def _mean_response(entry: Calibrator, track: BeamTrack) -> float:
    return float(track.response(entry.ra_deg, entry.dec_deg, telescope.REFERENCE_FREQ_HZ).mean())


CHAIN = (*range(104, 109), *range(109, 114), *range(114, 117), 103, 117)
"""Stations in the order in which the observatory's own pipeline prefers them: outriggers, which see little else."""
MIN_UNFLAGGED = 0.5
"""A reference antenna has at least this fraction of the best antenna's data."""


def choose_reference(info: MeasurementSetInfo, unflagged: NDArray[np.int64], wanted: str | None = None) -> str | None:
    """Return the name of the reference antenna, None when no antenna has any data.

    The first of the chain that has data; without any of the chain, the antenna nearest the array's centre that has.
    `unflagged` (n_antennas) is the number of usable visibilities, of the hand that has fewest.

    Raises:
        InvalidInput: the wanted antenna is not in the data, or all of its data are flagged.
    """
    if wanted is not None:
        if wanted not in info.antenna_names:
            raise InvalidInput(f"reference antenna {wanted!r} is not in the data")
        if unflagged[info.antenna_names.index(wanted)] == 0:
            raise InvalidInput(f"all data of the reference antenna {wanted!r} are flagged")
        return wanted
    if not unflagged.any():
        return None
    good = unflagged >= MIN_UNFLAGGED * unflagged.max()
    stations = {_station(name): index for index, name in enumerate(info.antenna_names) if good[index]}
    for station in CHAIN:
        if station in stations:
            return info.antenna_names[stations[station]]
    centre = np.median(info.antenna_positions_m[good], axis=0)
    distance = np.linalg.norm(info.antenna_positions_m - centre, axis=1)
    return info.antenna_names[int(np.argmin(np.where(good, distance, np.inf)))]


def _station(name: str) -> int | None:
    """Return the station number in an antenna name (``104``, ``DSA-104``, ``pad104``)."""
    match = re.fullmatch(r"\D*?(\d+)", name)
    return int(match.group(1)) if match else None


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
