"""Baseline coordinates for which offsets in an image are offsets in the ICRS.

An imager takes the delay towards (l, m) for u l + v m + w (n - 1). So u and v are computed as what they mean: the
change of a baseline's delay with the ICRS position of the phase centre, by differencing apparent Earth-fixed
directions. That has in it what a rotation of apparent coordinates lacks: the scale of annual aberration, 1e-4 or 0.4
arcsec at 1.2 degrees, and the exact angle of the axes (pyuvdata takes it over a degree of arc: 0.1 arcsec a degree).
"""

from __future__ import annotations

import numpy as np
from astropy.coordinates import ITRS, CartesianRepresentation, EarthLocation, SkyCoord
from astropy.time import Time
from numpy.typing import NDArray
from pyuvdata import UVData

from pipeline_app.casa.subband import PhaseCentre

_STEP = 1e-3
"""Sine of the offsets that are differenced: 3.4 arcmin."""
_MAX_DISAGREEMENT = 1e-3
"""With pyuvdata's uvw, of the longest baseline: above the effects named on top, below any mistake of sign or frame."""


class UvwDisagreement(RuntimeError):
    """Two independent ways to the same uvw differ by more than the approximations of one explain."""


def set_differential_uvw(tile: UVData, centre: PhaseCentre) -> None:
    """Replace the uvw of a tile phased to `centre` by differential ones; the data stay.

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
