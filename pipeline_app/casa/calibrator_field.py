"""What a calibrator tile is solved with: the calibrator, other bright sources of its field, the reference antenna."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.calibrators import Calibrator, UnknownCalibrator, calibrator, calibrators
from pipeline_app.casa.measurement_set import MeasurementSetInfo
from pipeline_app.casa.model import PointSource
from pipeline_app.casa.pointing import BeamTrack
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
        """As a source of the model."""
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
