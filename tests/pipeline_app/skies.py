"""Calibrated visibilities of a known sky, in memory: the tile's geometry without the cost of raw files and solving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.telescope import meridian_icrs_deg

MID_MJD = 61373.5
DECLINATION_DEG = 54.6


@dataclass(frozen=True, kw_only=True)
class Star:
    ra_deg: float
    dec_deg: float
    flux_jy: float
    alpha: float = -0.7


def geometry(n_antennas: int = 96, n_channels: int = 48, n_times: int = 24, step: int = 1):
    """Return a `StokesI` without data: every `step`-th pair of the real stations, over a whole tile and band."""
    from pipeline_app.casa.measurement_set import MeasurementSetInfo
    from pipeline_app.casa.stokes import StokesI

    stations = [station for station in telescope.stations() if station.active]
    picked = np.linspace(0, len(stations) - 1, n_antennas).round().astype(int)
    positions_m = np.stack([stations[i].itrf_m for i in picked])
    integration_sec = telescope.TILE_DURATION_SEC / n_times
    times_mjd = MID_MJD + (np.arange(n_times) - (n_times - 1) / 2) * integration_sec / 86400.0
    width_hz = telescope.CHANNEL_WIDTH_HZ * telescope.N_SUBBANDS * telescope.CHANNELS_PER_SUBBAND / n_channels
    ra_deg, dec_deg = meridian_icrs_deg(MID_MJD, DECLINATION_DEG)
    info = MeasurementSetInfo(
        path=Path("in-memory.ms"),
        antenna_names=tuple(str(i) for i in picked),
        antenna_positions_m=positions_m,
        dish_diameter_m=telescope.DISH_DIAMETER_M,
        freqs_hz=1.3112e9 + width_hz * (np.arange(n_channels) + 0.5),
        channel_width_hz=width_hz,
        correlations=(9, 12),
        feeds=((0, 0), (1, 1)),
        times_mjd=times_mjd,
        integration_sec=integration_sec,
        phase_ra_deg=ra_deg,
        phase_dec_deg=dec_deg,
        n_rows=0,
        telescope_name=telescope.TELESCOPE_NAME,
    )
    first, second = (index[::step] for index in np.triu_indices(n_antennas, 1))
    baselines_m = positions_m[first] - positions_m[second]
    uvw_m = np.concatenate([_uvw_m(baselines_m, time, info) for time in range(n_times)])
    shape = (len(uvw_m), n_channels)
    return StokesI(
        info=info,
        uvw_m=uvw_m,
        time_index=np.repeat(np.arange(n_times), len(first)),
        values=np.zeros(shape, np.complex64),
        weight=np.ones(shape, np.float32),
    )


def _uvw_m(baselines_m: NDArray[np.float64], time: int, info) -> NDArray[np.float64]:
    """Baselines turned towards the phase centre (Thompson, Moran & Swenson, eq. 4.1), at the meridian at mid-time."""
    hour_angle = (info.times_mjd[time] - MID_MJD) * 86400.0 * np.radians(telescope.SIDEREAL_RATE_DEG_PER_SEC)
    longitude, dec = np.radians(telescope.LONGITUDE_DEG), np.radians(info.phase_dec_deg)
    angle = hour_angle - longitude
    east = np.array([np.sin(angle), np.cos(angle), 0.0])
    towards = np.array([np.cos(dec) * np.cos(angle), -np.cos(dec) * np.sin(angle), np.sin(dec)])
    return baselines_m @ np.stack([east, np.cross(towards, east), towards], axis=1)


def observe(data, stars: Sequence[Star], *, sigma_jy: float, seed: int = 1, beam: bool = True):
    """Return the data with the stars seen through the drifting beam and with noise of each part of Stokes I."""
    import dataclasses

    from pipeline_app.casa.model import direction_cosines
    from pipeline_app.casa.pointing import beam_track

    info, track = data.info, beam_track(data.info)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((*data.values.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    values = (sigma_jy * noise).astype(np.complex64)
    for star in stars:
        apparent = star.flux_jy * (info.freqs_hz / telescope.REFERENCE_FREQ_HZ) ** star.alpha
        seen = track.response(star.ra_deg, star.dec_deg, info.freqs_hz) if beam else np.ones((len(track.ra_deg), 1))
        lmn = direction_cosines(star.ra_deg, star.dec_deg, info)
        values += (seen * apparent).astype(np.float32)[data.time_index] * phasors(data.uvw_m, lmn, info.freqs_hz)
    weight = np.full(values.shape, 1.0 / sigma_jy**2 if sigma_jy else 1.0, dtype=np.float32)
    return dataclasses.replace(data, values=values, weight=weight)


def phasors(
    uvw_m: NDArray[np.float64], lmn: NDArray[np.float64], freqs_hz: NDArray[np.float64]
) -> NDArray[np.complex64]:
    """Return the unit visibility of a direction, shape (n_rows, n_freqs).

    In a Measurement Set V(u, v, w) = exp(+2 pi i freq / c (u l + v m + w (n - 1))) with the sign of UVW that pyuvdata
    writes (antenna1 - antenna2); a source off centre in the tests of conversion holds this down.
    """
    delay_sec = (uvw_m @ lmn) / telescope.SPEED_OF_LIGHT_M_S
    return np.exp(2j * np.pi * np.outer(delay_sec, freqs_hz)).astype(np.complex64)


def image(data, directory: Path, **params: object):
    """Image data with the default engine; return what it cleaned, and its job."""
    from pipeline_app.casa import deconvolution
    from pipeline_app.casa.deconvolution import ImagingJob
    from pipeline_app.casa.imaging import field_size_deg, grid_for
    from pipeline_app.casa.pointing import beam_track
    from pipeline_app.casa.stokes import imaging_weights
    from pipeline_app.stages.imaging import ImagingParams

    asked = ImagingParams(ms_path="in-memory.ms", **params)
    track = beam_track(data.info)
    field_deg = field_size_deg(asked, track)
    weights = imaging_weights(data, robust=asked.robust, field_rad=np.radians(field_deg))
    job = ImagingJob(
        params=asked,
        data=data,
        weights=weights,
        track=track,
        grid=grid_for(asked, data, weights, field_deg),
        scratch_dir=directory,
        progress=lambda done, message: None,
    )
    return deconvolution.clean(job), job


def write_images(cleaned, job, directory: Path) -> dict[str, str]:
    """Write what the imaging stage writes, and return it by the names of its result."""
    from pipeline_app.casa import fits_images
    from pipeline_app.casa.response import effective_response

    flat = cleaned.flat
    response = effective_response(
        flat.wcs, flat.data.shape, job.data, job.track, job.weights, spectral_index=-0.7, smearing=False
    )
    directory.mkdir(parents=True, exist_ok=True)
    planes = {
        "image": flat.data / np.maximum(response, 0.01),
        "flat_image": flat.data,
        "pb": response,
        "residual": cleaned.residual,
        "model": cleaned.model,
        "psf": cleaned.psf,
    }
    paths = {f"{name}_path": str(directory / f"{name}.fits") for name in planes}
    for name, plane in planes.items():
        fits_images.write_image(Path(paths[f"{name}_path"]), flat, plane, freq_hz=1.405e9, note="")
    return paths


def scatter(data, count: int, radius_deg: float, flux_jy: tuple[float, float], seed: int) -> list[Star]:
    """Return sources at random within a radius, apparent fluxes in equal ratios between two limits."""
    from pipeline_app.casa.pointing import beam_track

    info, track, rng = data.info, beam_track(data.info), np.random.default_rng(seed)
    stars: list[Star] = []
    while len(stars) < count:
        angle, offset_deg = rng.uniform(0, 2 * np.pi), radius_deg * np.sqrt(rng.uniform())
        dec_deg = info.phase_dec_deg + offset_deg * np.cos(angle)
        ra_deg = info.phase_ra_deg + offset_deg * np.sin(angle) / np.cos(np.radians(dec_deg))
        apart = [telescope.angular_separation_deg(ra_deg, dec_deg, s.ra_deg, s.dec_deg) for s in stars]
        if apart and min(apart) < 0.05:
            continue
        response = float(track.response(ra_deg, dec_deg, [1.405e9]).mean())
        flux = float(np.exp(rng.uniform(*np.log(flux_jy)))) / response
        stars.append(Star(ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=flux, alpha=float(rng.normal(-0.7, 0.2))))
    return stars
