"""Simulate one tile: all its subband files, and the truth beside them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np

from pipeline_app.simulation.gains import N_POLARIZATIONS, Gains, make_gains
from pipeline_app.simulation.geometry import (
    integration_times,
    meridian_direction,
    pick_stations,
    pointing_icrs_deg,
    source_directions,
)
from pipeline_app.simulation.spec import TileSpec
from pipeline_app.simulation.truth import TileTruth
from pipeline_app.simulation.visibilities import Baselines, Sky, corrupt, noise_sigma_jy, sky_visibilities
from pipeline_app.simulation.writer import TileHeader, write_subband
from pipeline_app.telescope import CHANNEL_WIDTH_HZ, CHANNELS_PER_SUBBAND, Station, subband_freqs_hz

_CORRELATOR_ORDER_SEED = 110
_MAX_CLOCK_SPREAD_SEC = 11


def simulate_tile(directory: Path, spec: TileSpec) -> TileTruth:
    """Write the subband files of `spec` and its truth into `directory`, as the correlator would have."""
    directory.mkdir(parents=True, exist_ok=True)
    pads = pick_stations(spec.n_antennas)
    channel_width_hz = CHANNEL_WIDTH_HZ * CHANNELS_PER_SUBBAND / spec.channels_per_subband
    freqs_hz = np.concatenate([subband_freqs_hz(k, spec.channels_per_subband) for k in spec.subbands])
    gains = make_gains(spec.gains, pads, freqs_hz, tile_seed=spec.seed)
    sigma_jy = noise_sigma_jy(spec.sefd_jy, channel_width_hz, spec.integration_time_sec)
    files = _write_files(directory, spec, pads, gains=gains, sigma_jy=sigma_jy, channel_width_hz=channel_width_hz)
    truth = _truth(spec, pads, gains=gains, freqs_hz=freqs_hz, sigma_jy=sigma_jy, files=files)
    truth.save(directory)
    return truth


def _write_files(
    directory: Path,
    spec: TileSpec,
    pads: tuple[Station, ...],
    *,
    gains: Gains,
    sigma_jy: float,
    channel_width_hz: float,
) -> tuple[str, ...]:
    header, sky = _header(spec, pads), _sky(spec)
    rng = np.random.default_rng(spec.seed)
    clocks_sec = rng.integers(0, _MAX_CLOCK_SPREAD_SEC + 1, len(spec.subbands))
    names = []
    for index, subband in enumerate(spec.subbands):
        own = slice(index * spec.channels_per_subband, (index + 1) * spec.channels_per_subband)
        freqs_hz = subband_freqs_hz(subband, spec.channels_per_subband)
        data = corrupt(
            sky_visibilities(sky, header.baselines.vectors_m, freqs_hz),
            gains.values[:, :, own],
            header.baselines,
            sigma_jy=sigma_jy,
            sefd_jy=spec.sefd_jy,
            rng=rng,
        )
        path = write_subband(
            directory,
            header,
            subband=subband,
            host_time=spec.start_time + timedelta(seconds=int(clocks_sec[index])),
            freqs_hz=freqs_hz,
            channel_width_hz=channel_width_hz,
            visibilities=data,
        )
        names.append(path.name)
    return tuple(names)


def _header(spec: TileSpec, pads: tuple[Station, ...]) -> TileHeader:
    order = np.random.default_rng(_CORRELATOR_ORDER_SEED).permutation(len(pads))
    return TileHeader(
        pads=pads,
        baselines=Baselines.of(np.array([pad.itrf_m for pad in pads]), order),
        times_jd=integration_times(spec).jd,
        integration_time_sec=spec.integration_time_sec,
        declination_deg=spec.declination_deg,
    )


def _sky(spec: TileSpec) -> Sky:
    ra_deg, dec_deg = (np.array([getattr(s, name) for s in spec.sources]) for name in ("ra_deg", "dec_deg"))
    return Sky(
        sources=spec.sources,
        directions=source_directions(ra_deg, dec_deg, integration_times(spec)),
        centre=meridian_direction(spec.declination_deg),
        beam=spec.beam,
    )


def _truth(
    spec: TileSpec,
    pads: tuple[Station, ...],
    *,
    gains: Gains,
    freqs_hz: np.ndarray,
    sigma_jy: float,
    files: tuple[str, ...],
) -> TileTruth:
    ascending = np.argsort(freqs_hz)
    n_baselines = len(pads) * (len(pads) - 1) // 2
    n_samples = n_baselines * spec.n_times * len(freqs_hz) * N_POLARIZATIONS
    pointing_ra_deg, pointing_dec_deg = pointing_icrs_deg(spec.declination_deg, spec.mid_time)
    times = integration_times(spec)
    return TileTruth(
        name=spec.name,
        kind=spec.kind,
        files=files,
        start_time=spec.start_time.isoformat(),
        mid_time_mjd=float(times.mjd.mean()),
        duration_sec=spec.duration_sec,
        declination_deg=spec.declination_deg,
        pointing_ra_deg=pointing_ra_deg,
        pointing_dec_deg=pointing_dec_deg,
        sources=spec.sources,
        sigma_jy=sigma_jy,
        thermal_rms_jy=sigma_jy / float(np.sqrt(n_samples)),
        antenna_names=tuple(str(pad.number) for pad in pads),
        freqs_hz=freqs_hz[ascending],
        delays_ns=gains.delays_ns,
        gains=gains.values[:, :, ascending],
    )
