"""Simulate one tile: all its subband files, and the truth beside them."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.corruption import (
    N_POLARIZATIONS,
    Gains,
    add_interference,
    make_gains,
    response_of,
    scale_of,
    signal_of,
)
from pipeline_app.simulation.geometry import (
    integration_times,
    meridian_direction,
    pick_stations,
    pointing_icrs_deg,
    source_directions,
)
from pipeline_app.simulation.spec import SmearingSpec, TileSpec
from pipeline_app.simulation.truth import TileTruth
from pipeline_app.simulation.visibilities import Baselines, Corruption, Sky, noise_sigma_jy, subband_visibilities
from pipeline_app.simulation.writer import TileHeader, write_subband
from pipeline_app.telescope import Station, subband_freqs_hz

_CORRELATOR_ORDER_SEED = 110
_MAX_CLOCK_SPREAD_SEC = 11
_INTERFERENCE_SEED = 1400


def simulate_tile(directory: Path, spec: TileSpec) -> TileTruth:
    """Write the subband files of `spec` and its truth into `directory`, as the correlator would have."""
    directory.mkdir(parents=True, exist_ok=True)
    pads = pick_stations(spec.n_antennas)
    freqs_hz = np.concatenate([subband_freqs_hz(k, spec.channels_per_subband) for k in spec.subbands])
    gains = make_gains(spec.gains, pads, freqs_hz, tile_seed=spec.seed)
    passed = np.tile(np.sqrt(response_of(spec)), len(spec.subbands))
    gains = dataclasses.replace(gains, values=gains.values * passed)
    files = _write_files(directory, spec, pads, gains)
    truth = _truth(spec, pads, gains=gains, freqs_hz=freqs_hz, files=files)
    truth.save(directory)
    return truth


def sigma_jy(spec: TileSpec) -> float:
    """Return the noise of each part of one visibility before the gains."""
    return noise_sigma_jy(spec.sefd_jy, spec.channel_width_hz, spec.integration_time_sec)


def thermal_rms_jy(spec: TileSpec) -> float:
    """Return the noise of a naturally weighted Stokes I image of the tile, from perfectly calibrated data."""
    n_baselines = spec.n_antennas * (spec.n_antennas - 1) // 2
    n_samples = n_baselines * spec.n_times * len(spec.subbands) * spec.channels_per_subband * N_POLARIZATIONS
    return sigma_jy(spec) / float(np.sqrt(n_samples))


def _write_files(directory: Path, spec: TileSpec, pads: tuple[Station, ...], gains: Gains) -> tuple[str, ...]:
    header, sky = _header(spec, pads), _sky(spec)
    rng = np.random.default_rng(spec.seed)
    interference = np.random.default_rng((spec.seed, _INTERFERENCE_SEED))
    clocks_sec = rng.integers(0, _MAX_CLOCK_SPREAD_SEC + 1, len(spec.subbands))
    smearing = spec.smearing and SmearingSpec(
        channel_width_hz=spec.smearing.channel_width_hz or spec.channel_width_hz,
        integration_time_sec=spec.smearing.integration_time_sec or spec.integration_time_sec,
    )
    names = []
    for index, subband in enumerate(spec.subbands):
        own = slice(index * spec.channels_per_subband, (index + 1) * spec.channels_per_subband)
        freqs_hz = subband_freqs_hz(subband, spec.channels_per_subband)
        noise_jy = _noise(spec, len(header.baselines.first), rng)
        noise_jy /= response_of(spec).astype(np.float32)
        add_interference(noise_jy, spec, subband, sigma_jy=sigma_jy(spec), rng=interference)
        corruption = Corruption(
            gains=gains.values[:, :, own],
            turns=gains.turns(spec.n_times),
            signal=signal_of(spec, pads, subband),
            scale=scale_of(spec, pads),
            noise_jy=noise_jy,
            sefd_jy=spec.sefd_jy,
        )
        path = write_subband(
            directory,
            header,
            subband=subband,
            host_time=spec.start_time + timedelta(seconds=int(clocks_sec[index])),
            freqs_hz=freqs_hz,
            channel_width_hz=spec.channel_width_hz,
            visibilities=subband_visibilities(sky, header.baselines, freqs_hz, corruption, smearing=smearing),
            lost_times=[lost.time_index for lost in spec.defects.lost if lost.subband == subband],
        )
        names.append(path.name)
    return tuple(names)


def _noise(spec: TileSpec, n_baselines: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Draw the noise of one subband, shape (2, n_times, n_baselines, n_channels)."""
    shape = (N_POLARIZATIONS, spec.n_times, n_baselines, spec.channels_per_subband, 2)
    parts = rng.standard_normal(shape, dtype=np.float32)
    parts *= np.float32(sigma_jy(spec))
    return parts.view(np.complex64)[..., 0]


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
    files: tuple[str, ...],
) -> TileTruth:
    ascending = np.argsort(freqs_hz)
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
        sigma_jy=sigma_jy(spec),
        thermal_rms_jy=thermal_rms_jy(spec),
        antenna_names=tuple(str(pad.number) for pad in pads),
        freqs_hz=freqs_hz[ascending],
        delays_ns=gains.delays_ns,
        gains=gains.values[:, :, ascending],
        phase_slopes_deg=gains.slopes_deg,
        smearing=spec.smearing,
        defects=spec.defects,
    )
