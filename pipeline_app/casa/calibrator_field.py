"""What the dishes see in a calibrator's tile: the calibrator, and other sources bright enough to matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.calibrators import Calibrator, UnknownCalibrator, calibrator, calibrators
from pipeline_app.casa import measurement_set
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.model import PointSource, predict
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.solutions import Solutions
from tasks_app.handler import InvalidInput

MAIN_LOBE_DEG = 2.5
"""Inside the first null, 3.2 degrees at 1.405 GHz; scaled with the dish."""
FIELD_SOURCE_SIGMA = 5.0
"""Other table sources enter the model when the residual shows them this surely."""


@dataclass(frozen=True, kw_only=True)
class ChosenCalibrator:
    """A calibrator and how bright it arrives."""

    entry: Calibrator
    apparent_flux_jy: float

    @property
    def source(self) -> PointSource:
        """As a source of the model."""
        return as_source(self.entry)


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


def find_field_sources(
    chosen: ChosenCalibrator, info: MeasurementSetInfo, track: BeamTrack, solutions: Solutions
) -> list[PointSource]:
    """Return the other table sources of the field that the residual visibilities show, with the fluxes seen there.

    Their published fluxes are not trusted (many vary): position from the table, flux from a joint least-squares fit to
    corrected data minus the calibrator. One that is not there today is left out.
    """
    candidates = [
        replace(as_source(entry), flux_jy=1.0)
        for entry in _near(track)
        if entry.name != chosen.entry.name and entry.flux_jy is not None
    ]
    if not candidates:
        return []
    fluxes_jy, errors_jy = _fit_fluxes(candidates, chosen.source, info, track, solutions)
    return [
        replace(source, flux_jy=float(flux))
        for source, flux, error in zip(candidates, fluxes_jy, errors_jy, strict=True)
        if flux > FIELD_SOURCE_SIGMA * error
    ]


def _near(track: BeamTrack) -> list[Calibrator]:
    radius_deg = MAIN_LOBE_DEG / track.freq_factor
    return [entry for entry in calibrators() if entry.offset_deg(track.mid_ra_deg, track.mid_dec_deg) < radius_deg]


def _mean_response(entry: Calibrator, track: BeamTrack) -> float:
    return float(track.response(entry.ra_deg, entry.dec_deg, telescope.REFERENCE_FREQ_HZ).mean())


def _fit_fluxes(
    candidates: Sequence[PointSource],
    known: PointSource,
    info: MeasurementSetInfo,
    track: BeamTrack,
    solutions: Solutions,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return fluxes and errors in Jy of the candidates, by linear least squares over all visibilities."""
    n = len(candidates)
    normal, projected, power, count = np.zeros((n, n)), np.zeros(n), 0.0, 0
    for rows in measurement_set.iter_rows(info):
        corrected, bad = solutions.corrected(rows, info)
        good = ~bad
        residual = np.where(good, corrected - predict([known], info, track, rows)[..., None], 0)
        units = [predict([source], info, track, rows) for source in candidates]
        weight = good.sum(axis=-1)
        for i, first in enumerate(units):
            projected[i] += np.sum((first.conj()[..., None] * residual).real)
            for j, second in enumerate(units[: i + 1]):
                normal[i, j] += np.sum(weight * (first.conj() * second).real)
        power += float(np.sum(np.abs(residual) ** 2))
        count += int(good.sum())
    normal = normal + np.tril(normal, -1).T
    inverse = np.linalg.pinv(normal)
    variance = power / (2 * count) if count else np.inf
    return inverse @ projected, np.sqrt(np.diag(inverse) * variance)
