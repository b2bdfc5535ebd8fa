"""Pairs of tiles, a calibrator's and a target's, whose numbers make a pipeline earn its result."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

import numpy as np

from pipeline_app.calibrators import calibrator
from pipeline_app.simulation.geometry import pointing_icrs_deg, transit_before
from pipeline_app.simulation.spec import GainSpec, Source, TileSpec
from pipeline_app.telescope import TILE_DURATION_SEC

CALIBRATOR = "0834+555"
DECLINATION_DEG = 54.6
"""A strip the DSA-110 observes; it passes a degree south of the calibrator."""
TILES_BETWEEN = 12
"""From the calibrator's tile to the target's: far enough for the calibrator to have left the beam and its sidelobes."""


def demo_tiles(
    now: datetime, *, n_antennas: int = 28, channels_per_subband: int = 4, n_times: int = 8
) -> list[TileSpec]:
    """Return the calibrator tile and the target tile of the last full pass of the calibrator before `now`.

    Both last as long as a real tile; reduced in antennas, channels and integrations.
    """
    return _pair(now, n_antennas=n_antennas, channels_per_subband=channels_per_subband, n_times=n_times, n_sources=12)


def tiny_tiles(
    now: datetime, *, n_antennas: int = 12, channels_per_subband: int = 1, n_times: int = 4
) -> list[TileSpec]:
    """Return the smallest pair that calibration and imaging can work on: for tests."""
    return _pair(now, n_antennas=n_antennas, channels_per_subband=channels_per_subband, n_times=n_times, n_sources=3)


def full_tiles(now: datetime) -> list[TileSpec]:
    """Return the pair at the real size: 96 antennas, 768 channels, 24 integrations, 2.3 GB a tile."""
    return _pair(now, n_antennas=96, channels_per_subband=48, n_times=24, n_sources=12)


def _pair(now: datetime, *, n_antennas: int, channels_per_subband: int, n_times: int, n_sources: int) -> list[TileSpec]:
    """Make both specs; in the target tile the gains have drifted a little, as they do within an hour."""
    known = calibrator(CALIBRATOR)
    if known.flux_jy is None:
        raise ValueError(f"{CALIBRATOR} needs a flux")
    span = timedelta(seconds=(TILES_BETWEEN + 1) * TILE_DURATION_SEC)
    transit = transit_before(known.ra_deg, known.dec_deg, now - span)
    start = (transit - timedelta(seconds=TILE_DURATION_SEC / 2)).replace(microsecond=0)
    bright = Source(
        name=known.name, ra_deg=known.ra_deg, dec_deg=known.dec_deg, flux_jy=known.flux_jy, alpha=known.alpha or 0.0
    )
    target_start = start + timedelta(seconds=TILES_BETWEEN * TILE_DURATION_SEC)
    calibrator_tile = TileSpec(
        kind="calibrator",
        start_time=start,
        declination_deg=DECLINATION_DEG,
        sources=(bright, *_field(start, seed=2, count=max(2, n_sources // 2), brightest_jy=0.3, avoid=(bright,))),
        n_antennas=n_antennas,
        channels_per_subband=channels_per_subband,
        n_times=n_times,
        integration_time_sec=TILE_DURATION_SEC / n_times,
        gains=GainSpec(),
        seed=11,
    )
    target_tile = dataclasses.replace(
        calibrator_tile,
        kind="target",
        start_time=target_start,
        sources=_field(target_start, seed=5, count=n_sources, brightest_jy=1.0),
        gains=GainSpec(drift_phase_deg=0.5, drift_amplitude=0.003),
        seed=12,
    )
    return [calibrator_tile, target_tile]


def _field(
    start: datetime,
    *,
    seed: int,
    count: int,
    brightest_jy: float,
    avoid: tuple[Source, ...] = (),
    radius_deg: float = 0.95,
    apart_deg: float = 0.12,
) -> tuple[Source, ...]:
    """Scatter sources of 50 mJy to `brightest_jy` within a radius of where the dishes point at mid-tile."""
    rng = np.random.default_rng(seed)
    ra0_deg, dec0_deg = pointing_icrs_deg(DECLINATION_DEG, start + timedelta(seconds=TILE_DURATION_SEC / 2))
    places: list[tuple[float, float]] = [
        ((s.ra_deg - ra0_deg) * float(np.cos(np.radians(s.dec_deg))), s.dec_deg - dec0_deg) for s in avoid
    ]
    n_avoided = len(places)
    while len(places) < n_avoided + count:
        x, y = rng.uniform(-radius_deg, radius_deg, 2)
        if np.hypot(x, y) <= radius_deg and all(np.hypot(x - a, y - b) >= apart_deg for a, b in places):
            places.append((float(x), float(y)))
    fluxes_jy = rng.permutation(np.geomspace(0.05, brightest_jy, count))
    alphas = rng.uniform(-0.9, -0.5, count)
    return tuple(
        Source(
            name=f"S{index + 1:02d}",
            ra_deg=float((ra0_deg + x / np.cos(np.radians(dec0_deg + y))) % 360),
            dec_deg=float(dec0_deg + y),
            flux_jy=round(float(flux_jy), 4),
            alpha=round(float(alpha), 2),
        )
        for index, ((x, y), flux_jy, alpha) in enumerate(zip(places[n_avoided:], fluxes_jy, alphas, strict=True))
    )
