"""One raw subband brought to the conventions of the Measurement Set: phase centre, uvw, baselines, flags.

The header of a raw DSA-110 file is wrong about its phases: it has `drift`, but the correlator stops
fringes, at every integration, on the point of the sky that is then at hour angle 0 and the pointing declination. That
direction is fixed to the Earth, so its ICRS position differs from one integration to the next. Here every integration
is first labelled with that position, as the phase centre its data *already have*, and only then all move to one centre.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import ITRS, CartesianRepresentation, EarthLocation, SkyCoord
from astropy.time import Time
from numpy.typing import NDArray
from pyuvdata import UVData

from pipeline_app.ingest.header import RawHeader
from pipeline_app.telescope import DSA_NAMES
from tasks_app.engine.handler import InvalidInput

WILD_FACTOR = 1e4
"""A visibility above this times the median amplitude of its kind in its subband is garbage, not interference."""
_MEDIAN_SAMPLES = 200_000
"""Visibilities that the median is taken of."""


@dataclass(frozen=True, kw_only=True)
class PhaseCentre:
    """The common phase centre of a tile, ICRS."""

    ra_deg: float
    dec_deg: float


def read_subband(header: RawHeader, *, read_data: bool = True) -> UVData:
    """Read one file, or only its metadata, in its own order of channels and antennas; its uvw are not to be used.

    Raises:
        InvalidInput: pyuvdata cannot make sense of the file.
    """
    tile = UVData()
    try:
        with _quietly():
            tile.read(
                str(header.path),
                file_type="uvh5",
                read_data=read_data,
                data_array_dtype=np.complex64,
                run_check=False,
                strict_uvw_antpos_check=False,
            )
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise InvalidInput(f"{header.path} is not a readable UVH5 file: {error}") from error
    tile.uvw_array = tile.uvw_array.astype(np.float64)
    if header.is_dsa and header.phase_centre_deg is None:
        tile.extra_keywords["phase_center_dec"] = np.radians(header.declination_deg)
    return tile


def garbage_limits(tile: UVData) -> NDArray[np.float64]:
    """Return the square of the amplitude above which a value cannot be a visibility, (n_rows,).

    Autocorrelations, which are stronger by orders of magnitude, have a limit of their own.
    """
    limits = np.full(tile.Nblts, np.finfo(np.float64).max)
    autos = tile.ant_1_array == tile.ant_2_array
    for kind in (autos, ~autos):
        rows = np.flatnonzero(kind)
        amplitude = np.abs(tile.data_array[rows[:: max(1, len(rows) * tile.Nfreqs * tile.Npols // _MEDIAN_SAMPLES)]])
        good = amplitude[np.isfinite(amplitude) & (amplitude > 0)]
        if good.size:
            limits[rows] = (WILD_FACTOR * float(np.median(good))) ** 2
    return limits


def pointing_declination_deg(tile: UVData) -> float | None:
    """Return the declination on whose meridian point fringes were stopped; None when the header's phase centre holds.

    Raises:
        InvalidInput: a DSA-110 drift file without its declination.
    """
    drift = all(entry["cat_type"] == "unprojected" for entry in tile.phase_center_catalog.values())
    if tile.telescope.name not in DSA_NAMES or not drift:
        return None
    for key in ("phase_center_dec", "phase_center_app_dec"):
        if key in tile.extra_keywords:
            return float(np.degrees(float(tile.extra_keywords[key])))
    raise InvalidInput("the header has no extra_keywords/phase_center_dec: the pointing is unknown")


def meridian_icrs(declination_deg: float, times_jd: NDArray[np.float64], location: EarthLocation) -> SkyCoord:
    """Return the ICRS positions of hour angle 0 at an apparent declination, shape (n_times,).

    Through the Earth-fixed frame, so that UT1, precession, nutation, aberration and polar motion are all in.
    """
    longitude, declination = location.lon.rad, np.radians(declination_deg)
    direction = np.array(
        [np.cos(declination) * np.cos(longitude), np.cos(declination) * np.sin(longitude), np.sin(declination)]
    )
    vectors = CartesianRepresentation(np.tile(direction[:, None], len(times_jd)))
    times = Time(times_jd, format="jd", scale="utc")
    return SkyCoord(ITRS(vectors, obstime=times, location=location)).icrs


def mid_time(tile: UVData) -> Time:
    """Return the middle between the first and the last integration."""
    return Time(float(tile.time_array.min() + tile.time_array.max()) / 2, format="jd", scale="utc")


def start_time(tile: UVData) -> Time:
    """Return the start of the first integration."""
    half_days = float(np.median(tile.integration_time)) / 2 / 86400
    return Time(float(tile.time_array.min()) - half_days, format="jd", scale="utc")


def common_centre(tile: UVData) -> PhaseCentre:
    """Choose the phase centre of a tile: the meridian at mid-time, the zenith then, or the one the file has.

    Raises:
        InvalidInput: the file has several phase centres or a moving one.
    """
    middle = np.array([mid_time(tile).jd])
    entries = list(tile.phase_center_catalog.values())
    if all(entry["cat_type"] == "unprojected" for entry in entries):
        location = tile.telescope.location
        declination_deg = pointing_declination_deg(tile)
        apparent_deg = location.lat.deg if declination_deg is None else declination_deg
        centre = meridian_icrs(apparent_deg, middle, location)[0]
        return PhaseCentre(ra_deg=float(centre.ra.deg), dec_deg=float(centre.dec.deg))
    if len(entries) != 1 or entries[0]["cat_type"] != "sidereal":
        raise InvalidInput("the file has several phase centres, or a moving one")
    entry = entries[0]
    centre = SkyCoord(entry["cat_lon"] * u.rad, entry["cat_lat"] * u.rad, frame=entry["cat_frame"]).icrs
    return PhaseCentre(ra_deg=float(centre.ra.deg), dec_deg=float(centre.dec.deg))


def rephase(tile: UVData, centre: PhaseCentre) -> NDArray[np.float64]:
    """Move a tile, in place, from the phase centre its data have to `centre`, with uvw from the antenna positions.

    Returns:
        The change of w in metres, shape (n_rows,), by which data that are not in `tile` have still to be moved. Data
        that are in it have been.
    """
    declination_deg = pointing_declination_deg(tile)
    with _quietly():
        if declination_deg is not None:
            _label_meridian(tile, declination_deg)
        elif any(entry["cat_type"] != "unprojected" for entry in tile.phase_center_catalog.values()):
            tile._set_app_coords_helper()
            tile.set_uvws_from_antenna_positions(update_vis=False)
        unprojected = all(entry["cat_type"] == "unprojected" for entry in tile.phase_center_catalog.values())
        before_m = np.zeros(tile.Nblts) if unprojected else tile.uvw_array[:, 2].copy()
        tile.phase(
            lon=np.radians(centre.ra_deg),
            lat=np.radians(centre.dec_deg),
            phase_frame="icrs",
            cat_type="sidereal",
            cat_name="centre",
        )
    return tile.uvw_array[:, 2] - before_m


def _label_meridian(tile: UVData, declination_deg: float) -> None:
    """Declare, without touching the data, that each integration is phased to the meridian of its own time."""
    times_jd, index = np.unique(tile.time_array, return_inverse=True)
    centres = meridian_icrs(declination_deg, times_jd, tile.telescope.location)
    identifiers = [
        tile._add_phase_center(
            cat_name=f"meridian_{number}",
            cat_type="sidereal",
            cat_lon=float(position.ra.rad),
            cat_lat=float(position.dec.rad),
            cat_frame="icrs",
            cat_epoch=2000.0,
        )
        for number, position in enumerate(centres)
    ]
    tile.phase_center_id_array = np.array(identifiers)[index]
    tile._clear_unused_phase_centers()
    tile._set_app_coords_helper()
    tile.set_uvws_from_antenna_positions(update_vis=False)


class _quietly(warnings.catch_warnings):
    """Silence pyuvdata where what it warns of is done on purpose."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


_STEP = 1e-3
"""Sine of the offsets that are differenced: 3.4 arcmin."""
_MAX_DISAGREEMENT = 1e-3
"""With pyuvdata's uvw, of the longest baseline: above the effects named on top, below any mistake of sign or frame."""


class UvwDisagreement(RuntimeError):
    """Two independent ways to the same uvw differ by more than the approximations of one explain."""


def set_differential_uvw(tile: UVData, centre: PhaseCentre) -> None:
    """Replace the uvw of a tile phased to `centre` by those for which offsets in an image are ICRS offsets.

    An imager takes the delay towards (l, m) for u l + v m + w (n - 1). So u and v are computed as what they mean: the
    change of a baseline's delay with the ICRS position of the phase centre, by differencing apparent Earth-fixed
    directions. That has in it what a rotation of apparent coordinates lacks: the scale of annual aberration, 1e-4 or
    0.4 arcsec at 1.2 degrees, and the exact angle of the axes (pyuvdata takes it over a degree of arc: 0.1 arcsec a
    degree). The data stay.

    Raises:
        UvwDisagreement: they are not nearly the same as those that the tile has.
    """
    times_jd, index = np.unique(tile.time_array, return_inverse=True)
    axes = _delay_axes(centre, times_jd, tile.telescope.location)
    row_of = {int(number): row for row, number in enumerate(tile.telescope.antenna_numbers)}
    positions_m = np.asarray(tile.telescope.antenna_positions)
    first = positions_m[[row_of[int(n)] for n in tile.ant_1_array]]
    second = positions_m[[row_of[int(n)] for n in tile.ant_2_array]]
    uvw_m = np.einsum("rax,rx->ra", axes[index], second - first)
    off_m = float(np.abs(uvw_m - tile.uvw_array).max())
    longest_m = float(np.linalg.norm(second - first, axis=-1).max())
    if off_m > _MAX_DISAGREEMENT * longest_m:
        raise UvwDisagreement(f"uvw from delays and from rotations differ by {off_m:.3f} m on {longest_m:.0f} m")
    tile.uvw_array = uvw_m


def _delay_axes(centre: PhaseCentre, times_jd: NDArray[np.float64], location: EarthLocation) -> NDArray[np.float64]:
    """Return the Earth-fixed vectors whose products with a baseline are u, v and w, shape (n_times, 3, 3)."""
    ra, dec = np.radians([centre.ra_deg, centre.dec_deg])
    towards = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.cross(towards, east)
    shortened = towards * np.sqrt(1 - _STEP**2)
    icrs = np.stack(
        [
            shortened + _STEP * east,
            shortened - _STEP * east,
            shortened + _STEP * north,
            shortened - _STEP * north,
            towards,
        ]
    )
    places = SkyCoord(CartesianRepresentation(icrs.T), frame="icrs")
    unit = SkyCoord(places.ra, places.dec, frame="icrs")[None, :]
    times = Time(times_jd, format="jd", scale="utc")[:, None]
    seen = np.moveaxis(unit.transform_to(ITRS(obstime=times, location=location)).cartesian.xyz.value, 0, -1)
    u_axis = (seen[:, 0] - seen[:, 1]) / (2 * _STEP)
    v_axis = (seen[:, 2] - seen[:, 3]) / (2 * _STEP)
    return np.stack([u_axis, v_axis, seen[:, 4]], axis=1)
