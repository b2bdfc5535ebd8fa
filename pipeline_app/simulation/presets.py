"""Pairs of tiles with scattered gains and real noise; sets of defects by name; a few nights of one strip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pipeline_app.calibrators import calibrator
from pipeline_app.simulation.geometry import pick_stations, pointing_icrs_deg, transit_before
from pipeline_app.simulation.spec import (
    AntennaFault,
    Burst,
    Carrier,
    Defects,
    FieldSpec,
    GainSpec,
    SmearingSpec,
    Source,
    TileSpec,
    WeakIntegration,
)
from pipeline_app.telescope import (
    REFERENCE_FREQ_HZ,
    SIDEREAL_RATE_DEG_PER_SEC,
    TILE_DURATION_SEC,
    angular_separation_deg,
    power_beam,
)

CALIBRATOR = "0834+555"
DECLINATION_DEG = 54.6
"""A strip the DSA-110 observes; it passes a degree south of the calibrator."""
TILES_BETWEEN = 12
"""From the calibrator's tile to the target's: far enough for the calibrator to have left the beam and its sidelobes."""
TILES_OF_AN_HOUR = 12
HOUR_TILES_BETWEEN = 5
"""From the calibrator's tile to the first of an hour's targets: the calibrator is beyond the beam's first null."""
HOUR_RADIUS_DEG = 1.6
"""Sources further from a pointing than this are left out of an hour's tile."""


@dataclass(frozen=True, kw_only=True)
class TileSize:
    """The shape of a tile that lasts as long as a real one."""

    n_antennas: int
    channels_per_subband: int
    n_times: int
    n_sources: int
    smearing: SmearingSpec | None = None
    """None for tiles of reduced size: in their wide channels a calibrator off the axis would all but vanish."""


TINY = TileSize(n_antennas=12, channels_per_subband=1, n_times=4, n_sources=3)
"""The smallest that calibration and imaging can work on: for tests."""
DEMO = TileSize(n_antennas=28, channels_per_subband=4, n_times=8, n_sources=12)
FULL = TileSize(n_antennas=96, channels_per_subband=48, n_times=24, n_sources=12, smearing=SmearingSpec())
"""The real size, with the smearing of real channels and integrations: 2.3 GB."""
SIZES = {"tiny": TINY, "demo": DEMO, "full": FULL}
UNSMEARED_PROCESSING = {"calibration-solve": {"model_smearing": False}, "imaging": {"correct_smearing": False}}
"""Params by task name for tiles simulated without smearing: there is none to correct."""


def processing_for(size: TileSize) -> dict[str, dict[str, Any]]:
    """Return the params by task name that tiles of a size need beside the defaults."""
    return {} if size.smearing else {name: dict(params) for name, params in UNSMEARED_PROCESSING.items()}


def tile_pair(now: datetime, size: TileSize, *, calibrator_factor: float = 1.0) -> list[TileSpec]:
    """Return a calibrator's tile and a target's; in the latter the gains have drifted a little, as within an hour.

    `calibrator_factor` is the calibrator's true flux over its value in the project's table.
    """
    first = _calibrator_tile(now, size, span_tiles=TILES_BETWEEN + 1, factor=calibrator_factor)
    start = first.start_time + timedelta(seconds=TILES_BETWEEN * TILE_DURATION_SEC)
    field = FieldSpec(count=size.n_sources, flux_jy=(0.05, 1.0), seed=5)
    second = dataclasses.replace(
        first,
        kind="target",
        start_time=start,
        sources=scatter(field, _centre_deg(start)),
        gains=GainSpec(drift_phase_deg=0.5, drift_amplitude=0.003),
        seed=12,
    )
    return [first, second]


def hour_tiles(now: datetime, size: TileSize, *, n_targets: int = TILES_OF_AN_HOUR) -> list[TileSpec]:
    """Return a calibrator's tile and consecutive target tiles of the same strip, under one sky that drifts through.

    The targets begin when the calibrator has left the beam. Gains drift a little from tile to tile.
    """
    first = _calibrator_tile(now, size, span_tiles=HOUR_TILES_BETWEEN + n_targets, factor=1.0)
    starts = [
        first.start_time + timedelta(seconds=(HOUR_TILES_BETWEEN + k) * TILE_DURATION_SEC) for k in range(n_targets)
    ]
    sky: tuple[Source, ...] = ()
    for index, start in enumerate(starts):
        field = FieldSpec(count=size.n_sources, flux_jy=(0.05, 0.5), seed=100 + index, radius_deg=0.6)
        sky += scatter(field, _centre_deg(start), avoid=sky, prefix=f"H{index + 1:02d}-")
    targets = [
        dataclasses.replace(
            first,
            kind="target",
            start_time=start,
            sources=_near(sky, _centre_deg(start)),
            gains=GainSpec(drift_phase_deg=0.5, drift_amplitude=0.003),
            seed=100 + index,
        )
        for index, start in enumerate(starts)
    ]
    return [first, *targets]


def moved_to(spec: TileSpec, ra_deg: float, not_before: datetime) -> TileSpec:
    """Return the tile at the first time after `not_before` at which it is centred on a right ascension; no sources."""
    transit = transit_before(ra_deg, spec.declination_deg, not_before + timedelta(days=1))
    start = transit - timedelta(seconds=spec.duration_sec / 2)
    return dataclasses.replace(spec, start_time=start.replace(microsecond=0), sources=())


def _calibrator_tile(now: datetime, size: TileSize, *, span_tiles: int, factor: float) -> TileSpec:
    """Return the tile of the calibrator's last transit after which `span_tiles` tiles have passed before `now`."""
    known = calibrator(CALIBRATOR)
    if known.flux_jy is None:
        raise ValueError(f"{CALIBRATOR} needs a flux")
    transit = transit_before(known.ra_deg, known.dec_deg, now - timedelta(seconds=span_tiles * TILE_DURATION_SEC))
    start = (transit - timedelta(seconds=TILE_DURATION_SEC / 2)).replace(microsecond=0)
    bright = Source(
        name=known.name,
        ra_deg=known.ra_deg,
        dec_deg=known.dec_deg,
        flux_jy=known.flux_jy * factor,
        alpha=known.alpha or 0.0,
    )
    field = FieldSpec(count=max(2, size.n_sources // 2), flux_jy=(0.05, 0.3), seed=2)
    return TileSpec(
        kind="calibrator",
        start_time=start,
        declination_deg=DECLINATION_DEG,
        sources=(bright, *scatter(field, _centre_deg(start), avoid=(bright,))),
        n_antennas=size.n_antennas,
        channels_per_subband=size.channels_per_subband,
        n_times=size.n_times,
        integration_time_sec=TILE_DURATION_SEC / size.n_times,
        gains=GainSpec(),
        smearing=size.smearing,
        seed=11,
    )


def _centre_deg(start: datetime) -> tuple[float, float]:
    return pointing_icrs_deg(DECLINATION_DEG, start + timedelta(seconds=TILE_DURATION_SEC / 2))


def _near(sky: tuple[Source, ...], centre_deg: tuple[float, float]) -> tuple[Source, ...]:
    return tuple(s for s in sky if float(angular_separation_deg(s.ra_deg, s.dec_deg, *centre_deg)) <= HOUR_RADIUS_DEG)


_MAX_DRAWS = 100_000


def scatter(
    field: FieldSpec,
    centre_deg: tuple[float, float],
    *,
    avoid: tuple[Source, ...] = (),
    thermal_rms_jy: float | None = None,
    prefix: str = "S",
) -> tuple[Source, ...]:
    """Scatter the sources of a field.

    Args:
        field: how many, how bright, how far out.
        centre_deg: ICRS right ascension and declination of the pointing at mid-tile.
        avoid: sources to keep `apart_deg` away from.
        thermal_rms_jy: noise of the tile, needed when `field.snr` is given.
        prefix: names are this and a number.

    Raises:
        ValueError: the field has no space for this number of sources, or fluxes by SNR are wanted of noiseless data.
    """
    rng = np.random.default_rng(field.seed)
    ra0_deg, dec0_deg = centre_deg
    places: list[tuple[float, float]] = [
        (((s.ra_deg - ra0_deg + 180) % 360 - 180) * float(np.cos(np.radians(s.dec_deg))), s.dec_deg - dec0_deg)
        for s in avoid
    ]
    n_avoided = len(places)
    for _ in range(_MAX_DRAWS):
        if len(places) == n_avoided + field.count:
            break
        x, y = rng.uniform(-field.radius_deg, field.radius_deg, 2)
        if np.hypot(x, y) <= field.radius_deg and all(np.hypot(x - a, y - b) >= field.apart_deg for a, b in places):
            places.append((float(x), float(y)))
    else:
        raise ValueError(f"{field.count} sources {field.apart_deg}° apart do not fit within {field.radius_deg}°")
    values = rng.permutation(np.geomspace(*(field.flux_jy or field.snr or (0.0, 0.0)), field.count))
    alphas = rng.uniform(-0.9, -0.5, field.count)
    sources = []
    for index, ((x, y), value, alpha) in enumerate(zip(places[n_avoided:], values, alphas, strict=True)):
        flux_jy = round(float(value), 4)
        if field.snr is not None:
            flux_jy = round(float(value) * _noise_at(float(np.hypot(x, y)), thermal_rms_jy), 7)
        sources.append(
            Source(
                name=f"{prefix}{index + 1:02d}",
                ra_deg=float((ra0_deg + x / np.cos(np.radians(dec0_deg + y))) % 360),
                dec_deg=float(dec0_deg + y),
                flux_jy=flux_jy,
                alpha=round(float(alpha), 2),
            )
        )
    return tuple(sources)


def field_of(
    spec: TileSpec, field: FieldSpec, *, thermal_rms_jy: float, avoid: tuple[Source, ...] = ()
) -> tuple[Source, ...]:
    """Scatter a field around the middle of a tile."""
    centre_deg = pointing_icrs_deg(spec.declination_deg, spec.mid_time)
    return scatter(field, centre_deg, avoid=avoid, thermal_rms_jy=thermal_rms_jy)


def _noise_at(offset_deg: float, thermal_rms_jy: float | None) -> float:
    if not thermal_rms_jy:
        raise ValueError("fluxes by signal to noise need a tile with noise")
    return thermal_rms_jy / float(power_beam(offset_deg, REFERENCE_FREQ_HZ))


FAULTY_FRACTION = 5 / 96
"""Of the antennas that give noise only, and of those that lose one polarisation: 5 of each at the full size."""
BURST_LEVELS = (2.0, 5.0, 20.0)
CARRIER_LEVEL = 2.0
WEAK_FACTOR = 0.01


def with_defects(spec: TileSpec, name: str) -> TileSpec:
    """Return a tile with the set of defects called `name`, one of `DEFECT_SETS`, scaled to the tile's shape."""
    return DEFECT_SETS[name](spec)


def _phases(rms_deg: float) -> Callable[[TileSpec], TileSpec]:
    def apply(spec: TileSpec) -> TileSpec:
        return dataclasses.replace(spec, gains=dataclasses.replace(spec.gains, drift_phase_deg=rms_deg))

    return apply


def _antennas(spec: TileSpec) -> TileSpec:
    """Noise only, and as many others with one polarisation dead: in turn without signal and without any data."""
    stations = [pad.number for pad in pick_stations(spec.n_antennas)]
    count = max(1, round(FAULTY_FRACTION * len(stations)))
    spread = stations[1 :: max(1, len(stations) // (2 * count))][: 2 * count]
    noise_only = [AntennaFault(station=station) for station in spread[::2]]
    one_hand = [
        AntennaFault(station=station, kind=("zero", "noise")[number % 2], polarization=("XX", "YY")[number % 2])
        for number, station in enumerate(spread[1::2])
    ]
    return dataclasses.replace(spec, defects=Defects(antennas=(*noise_only, *one_hand)))


def _interference(spec: TileSpec) -> TileSpec:
    """Bursts of one integration over one subband, two carriers, and an integration that is too weak."""
    n_times, subbands, n_channels = spec.n_times, spec.subbands, spec.channels_per_subband
    return dataclasses.replace(
        spec,
        defects=Defects(
            bursts=tuple(
                Burst(
                    time_index=(1 + 2 * number) * n_times // 8,
                    subband=subbands[(number + 1) * len(subbands) // 4],
                    noise_multiple=level,
                )
                for number, level in enumerate(BURST_LEVELS)
            ),
            carriers=(
                Carrier(subband=subbands[0], channel=n_channels // 4, noise_multiple=CARRIER_LEVEL),
                Carrier(subband=subbands[-1], channel=n_channels - 1, noise_multiple=CARRIER_LEVEL),
            ),
            weak=(WeakIntegration(time_index=n_times - 1, factor=WEAK_FACTOR),),
        ),
    )


DEFECT_SETS: dict[str, Callable[[TileSpec], TileSpec]] = {
    "phases-10": _phases(10.0),
    "phases-20": _phases(20.0),
    "antennas": _antennas,
    "interference": _interference,
}


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
