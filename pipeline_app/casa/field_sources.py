"""The other sources of a calibrator's field: fluxes from a joint fit, and positions from a first image of what is left.

A source that is missing from the model is taken up by the gains in part, and is then too faint in everything that is
made with them: by 2 to 24 % with 24 antennas. So fluxes and gains are solved for in turn until they no longer change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import ducc0
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from pipeline_app import telescope
from pipeline_app.casa import solve_kernels
from pipeline_app.casa.gain_solver import Sky, SmoothGains
from pipeline_app.casa.model import PointSource, direction_cosines, vertex
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.threads import allowed, in_parts
from pipeline_app.casa.tile_cube import TileCube

MAIN_LOBE_DEG = 2.5
"""Inside the first null, 3.2 degrees at 1.405 GHz; scaled with the dish."""
MIN_RESPONSE = 0.02
"""Beyond, the beam changes too quickly over the band for a model of one source."""
FOUND_SIGMA = 6.5
"""Peaks of the image of the residuals above this many times its scatter are taken for sources."""
FOUND_OF_BRIGHTEST = 0.4
"""And above this part of the brightest, whose sidelobes they might be; the next round finds fainter ones."""
ALPHA = -0.7
"""Spectral index assumed of a source that no catalogue knows."""
MAX_BINS = 96
_PIXELS_PER_BEAM = 3.0
_BLEND_BEAMS = 2.0
"""What is found closer to a source of the model is taken for an error of that source's position or flux."""
_MAX_PIXELS = 2048
_NORMAL_STRIDE = 8
"""Channels apart at least, in the matrix of a fit that is iterated: its right-hand side has all channels."""
MAX_SOURCES = 60
"""In the model: each costs a pass over the data."""
MAX_FOUND = 10
"""At a time: among the fainter ones sidelobes of the brighter become more."""
_POSITION_STRIDE = 4
"""Channels apart, for positions: a quarter of the data places a source well enough."""
_STEP_OF_BEAM = 0.1


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """What the data hold beyond the model."""

    flux_changes_jy: NDArray[np.float64]
    """(n_sources - 1) to be added to the fluxes of all sources but the first, the calibrator, which sets the scale."""
    errors_jy: NDArray[np.float64]
    image: NDArray[np.complex64]
    """(n_baselines, n_times, n_bins) weighted sums of residuals in Stokes I."""
    weight: NDArray[np.float32]
    freqs_hz: NDArray[np.float64]
    """(n_bins)."""


def measure_residuals(
    cube: TileCube, sky: Sky, smoothed: SmoothGains, turns: NDArray[np.complex64], noise: float
) -> Residuals:
    """Compare data and model, weighting all levelled visibilities alike; `noise` is the rms of one component."""
    n_channels = cube.data.shape[2]
    n_bins = min(MAX_BINS, n_channels)
    bin_of = np.arange(n_channels) * n_bins // n_channels
    stride = max(_NORMAL_STRIDE, len(sky.sources)) if n_channels >= 8 * _NORMAL_STRIDE else 1
    projected, normal, image, weight = _project(cube, sky, smoothed, turns, bin_of, stride)
    inverse = np.linalg.pinv(normal[1:, 1:])
    return Residuals(
        flux_changes_jy=inverse @ projected[1:],
        errors_jy=noise * np.sqrt(np.diag(inverse)),
        image=image,
        weight=weight,
        freqs_hz=np.bincount(bin_of, cube.info.freqs_hz) / np.bincount(bin_of),
    )


def _project(
    cube: TileCube,
    sky: Sky,
    smoothed: SmoothGains,
    turns: NDArray[np.complex64],
    bin_of: NDArray[np.int64],
    stride: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.complex64], NDArray[np.float32]]:
    """Return projections, normal matrix, image and weight; see `solve_kernels.project`."""
    n_baselines, n_times = cube.data.shape[:2]
    n_sources, n_bins = len(sky.sources), int(bin_of.max()) + 1
    projected = np.zeros((n_baselines, n_sources))
    normal = np.zeros((n_baselines, n_sources, n_sources))
    image = np.zeros((n_baselines, n_times, n_bins), dtype=np.complex64)
    weight = np.zeros(image.shape, dtype=np.float32)
    in_parts(
        solve_kernels.project,
        n_baselines,
        sky.over(cube),
        sky.unit_jy,
        smoothed.gains.astype(np.complex64),
        turns,
        bin_of,
        stride,
        projected,
        normal,
        image,
        weight,
    )
    lower = normal.sum(axis=0)
    return projected.sum(axis=0), lower + np.tril(lower, -1).T, image, weight


def refine_positions(
    cube: TileCube,
    track: BeamTrack,
    sky: Sky,
    smoothed: SmoothGains,
    turns: NDArray[np.complex64],
    names: Collection[str],
) -> list[PointSource]:
    """Return the sources of a sky, those called `names` moved to where the residuals no longer have a slope.

    The flux that residuals show at small distances to both sides of a source differs only if the source is misplaced;
    how much that is follows from the flux that the source itself would show there. An image places a source within
    2 % of the beam, which leaves up to 4 % of its flux; this places it as well as the noise allows.
    """
    moved = [index for index, source in enumerate(sky.sources) if source.name in names]
    if not moved:
        return list(sky.sources)
    thinned = cube.thinned(_POSITION_STRIDE)
    step = _STEP_OF_BEAM * beam_rad(cube)
    beside: list[PointSource] = []
    for index in moved:
        east, north, _ = direction_cosines(sky.sources[index].ra_deg, sky.sources[index].dec_deg, cube.info)
        for x, y in ((step, 0), (-step, 0), (0, step), (0, -step)):
            beside.append(_at(sky.sources[index], east + x, north + y, cube, flux_jy=0.0))
    extended = Sky.of([*sky.sources, *beside], thinned, track)
    gains = replace(smoothed, gains=smoothed.gains[..., thinned.taken], weights=smoothed.weights[..., thinned.taken])
    bins = np.zeros(thinned.data.shape[2], dtype=np.int64)
    projected, normal, _, _ = _project(thinned, extended, gains, turns, bins, _NORMAL_STRIDE)
    sources = list(sky.sources)
    for number, index in enumerate(moved):
        own = len(sources) + 4 * number
        shifts = []
        for axis in (0, 2):
            slope = projected[own + axis] - projected[own + axis + 1]
            loss = 2 * normal[index, index] - normal[index, own + axis] - normal[index, own + axis + 1]
            shift = step * slope / (2 * loss * sources[index].flux_jy) if loss > 0 and sources[index].flux_jy else 0.0
            shifts.append(float(np.clip(shift, -2 * step, 2 * step)))
        east, north, _ = direction_cosines(sources[index].ra_deg, sources[index].dec_deg, cube.info)
        sources[index] = _at(sources[index], east + shifts[0], north + shifts[1], cube, sources[index].flux_jy)
    return sources


def find_sources(
    residuals: Residuals, cube: TileCube, track: BeamTrack, known: Sequence[PointSource]
) -> list[PointSource]:
    """Return what stands out in an image of the residuals, brightest first, with the fluxes of its pixels.

    Pixels as large as a third of the beam are fine enough to find a source and to place it within a few per cent of the
    beam by a parabola; natural weights, because noise is what hides a source here.
    """
    beam = beam_rad(cube)
    width_rad = 2 * np.radians(MAIN_LOBE_DEG / track.freq_factor)
    size = ducc0.fft.good_size(min(_MAX_PIXELS, int(np.ceil(width_rad / beam * _PIXELS_PER_BEAM))))
    size += size % 2
    pixel_rad = width_rad / size
    dirty = _dirty(residuals, cube, size, pixel_rad)
    scatter = 1.4826 * float(np.median(np.abs(dirty)))
    peaks = (dirty == maximum_filter(dirty, size=2 * int(_PIXELS_PER_BEAM) + 1)) & (dirty > FOUND_SIGMA * scatter)
    peaks[[0, -1]] = peaks[:, [0, -1]] = False
    places = np.argwhere(peaks & (dirty > FOUND_OF_BRIGHTEST * dirty.max()))
    found: list[PointSource] = []
    for row, column in places[np.argsort(-dirty[tuple(places.T)])]:
        x = (row + vertex(dirty[row - 1 : row + 2, column])[0] - size // 2) * pixel_rad
        y = (column + vertex(dirty[row, column - 1 : column + 2])[0] - size // 2) * pixel_rad
        source = _source(x, y, float(dirty[row, column]), cube, track)
        near = np.degrees(_BLEND_BEAMS * beam)
        if source is not None and all(_apart_deg(source, other) > near for other in (*known, *found)):
            found.append(source)
    return found[: max(0, min(MAX_FOUND, MAX_SOURCES - len(known)))]


def _dirty(residuals: Residuals, cube: TileCube, size: int, pixel_rad: float) -> NDArray[np.float64]:
    """Return the image (l, m) of the residuals in Jy, w-terms included."""
    n_rows = residuals.image.shape[0] * residuals.image.shape[1]
    image = ducc0.wgridder.vis2dirty(
        # ducc0 takes exp(+2 pi i (u l + v m - w (n - 1))) for the adjoint of our visibilities with these flips
        uvw=np.ascontiguousarray(cube.uvw_m.reshape(n_rows, 3)),
        freq=residuals.freqs_hz,
        vis=residuals.image.reshape(n_rows, -1),
        npix_x=size,
        npix_y=size,
        pixsize_x=pixel_rad,
        pixsize_y=pixel_rad,
        epsilon=1e-3,
        do_wgridding=True,
        nthreads=allowed(),
        flip_u=True,
        flip_v=True,
    )
    return np.asarray(image, dtype=np.float64) / max(float(residuals.weight.sum(dtype=np.float64)), 1e-30)


def _source(east: float, north: float, apparent_jy: float, cube: TileCube, track: BeamTrack) -> PointSource | None:
    """Return a source at direction cosines from the phase centre; None where the beam is too faint."""
    if east * east + north * north >= 1:
        return None
    ra_deg, dec_deg = _direction(east, north, cube)
    response = float(track.response(ra_deg, dec_deg, telescope.REFERENCE_FREQ_HZ).mean())
    offset_deg = telescope.angular_separation_deg(ra_deg, dec_deg, track.mid_ra_deg, track.mid_dec_deg)
    if response < MIN_RESPONSE or offset_deg > MAIN_LOBE_DEG / track.freq_factor:
        return None
    name = f"J{ra_deg:08.4f}{dec_deg:+08.4f}"
    return PointSource(name=name, ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=apparent_jy / response, alpha=ALPHA)


def _at(source: PointSource, east: float, north: float, cube: TileCube, flux_jy: float) -> PointSource:
    ra_deg, dec_deg = _direction(east, north, cube)
    return replace(source, ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=flux_jy)


def _direction(east: float, north: float, cube: TileCube) -> tuple[float, float]:
    """Return the ICRS direction in degrees at direction cosines from the phase centre."""
    towards = np.sqrt(1 - east * east - north * north)
    ra0, dec0 = np.radians([cube.info.phase_ra_deg, cube.info.phase_dec_deg])
    dec = np.arcsin(north * np.cos(dec0) + towards * np.sin(dec0))
    ra = ra0 + np.arctan2(east, towards * np.cos(dec0) - north * np.sin(dec0))
    return float(np.degrees(ra) % 360), float(np.degrees(dec))


def beam_rad(cube: TileCube) -> float:
    """Return the finest resolution of a tile: wavelength over longest baseline, at the top of the band."""
    longest_m = float(np.linalg.norm(cube.uvw_m[..., :2], axis=-1).max())
    return telescope.SPEED_OF_LIGHT_M_S / float(cube.info.freqs_hz.max()) / longest_m


def _apart_deg(one: PointSource, other: PointSource) -> float:
    return float(telescope.angular_separation_deg(one.ra_deg, one.dec_deg, other.ra_deg, other.dec_deg))
