"""A few nights of one strip, with what goes wrong in a real one: for the console, and for its tests."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from pipeline_app.simulation.geometry import pick_stations
from pipeline_app.simulation.presets import TileSize, hour_tiles
from pipeline_app.simulation.spec import AntennaFault, Defects, TileSpec
from pipeline_app.telescope import SIDEREAL_RATE_DEG_PER_SEC

SIDEREAL_DAY = timedelta(seconds=360.0 / SIDEREAL_RATE_DEG_PER_SEC)
VARIABLE_FACTORS = (1.0, 1.9, 1.5, 0.4)
"""Flux of the variable source over its catalogue flux, night by night, in turn."""
N_TARGETS = 2
MISSING_SUBBAND = 5
SOLVABLE_ANTENNAS = 3
"""Of the calibration that fails: fewer than a calibration needs."""


def nights(now: datetime, size: TileSize, n_nights: int) -> list[list[TileSpec]]:
    """Return the tiles of each night, the oldest first and the calibrator's tile first in each, under one sky.

    The brightest source of the first target varies. With two nights or more the calibration of the last but one fails,
    and with it its targets. In the last night the first target lacks a subband, and the second has no signal at all.
    """
    base = hour_tiles(now, size, n_targets=N_TARGETS)
    made = [
        [_of_night(spec, index, days_ago=n_nights - 1 - index) for spec in _with_variable(base, index)]
        for index in range(n_nights)
    ]
    if n_nights > 1:
        made[-2][0] = _silenced(made[-2][0], keep=SOLVABLE_ANTENNAS)
    last = made[-1]
    last[1] = dataclasses.replace(last[1], subbands=tuple(k for k in last[1].subbands if k != MISSING_SUBBAND))
    last[2] = _silenced(last[2], keep=0)
    return made


def _of_night(spec: TileSpec, index: int, *, days_ago: int) -> TileSpec:
    start = (spec.start_time - days_ago * SIDEREAL_DAY).replace(microsecond=0)
    return dataclasses.replace(spec, start_time=start, seed=spec.seed + 1000 * index)


def _with_variable(tiles: list[TileSpec], index: int) -> list[TileSpec]:
    """Give the brightest source of the first target the flux that it has in that night, in every tile that sees it."""
    name = max(tiles[1].sources, key=lambda source: source.flux_jy).name
    factor = VARIABLE_FACTORS[index % len(VARIABLE_FACTORS)]
    return [
        dataclasses.replace(
            tile,
            sources=tuple(
                dataclasses.replace(source, flux_jy=source.flux_jy * factor) if source.name == name else source
                for source in tile.sources
            ),
        )
        for tile in tiles
    ]


def _silenced(spec: TileSpec, *, keep: int) -> TileSpec:
    """Return the tile with zeros in place of the data of all antennas but the first `keep`."""
    silent = [pad.number for pad in pick_stations(spec.n_antennas)][keep:]
    faults = tuple(AntennaFault(station=number, kind="zero") for number in silent)
    return dataclasses.replace(spec, defects=Defects(antennas=faults))
