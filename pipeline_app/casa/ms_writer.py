"""Write an assembled tile as a Measurement Set that CASA accepts, and check what was written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.time import Time
from casacore import tables
from numpy.typing import NDArray
from pyuvdata import UVData

from pipeline_app.casa.subband import PhaseCentre, meridian_icrs
from pipeline_app.telescope import DISH_DIAMETER_M, DSA_NAMES, TELESCOPE_NAME, angular_separation_deg

_MAX_UVW_OVER_BASELINE = 1.1
_MAX_CENTRE_ERROR_ARCSEC = 0.01
_SECONDS_PER_DAY = 86400.0


class BadMeasurementSet(RuntimeError):
    """What was written is not what should have been."""


def write_measurement_set(tile: UVData, path: Path, *, declination_deg: float) -> None:
    """Write `tile` to `path`.

    Args:
        tile: as `describe_array` leaves it, phased to its one centre, antenna 1 <= antenna 2 everywhere, frequencies
            ascending.
        path: of the Measurement Set; must not exist.
        declination_deg: apparent pointing of a DSA-110 tile, for its POINTING table.
    """
    drifts = tile.telescope.name in DSA_NAMES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uncalibrated units are what raw data have
        tile.write_ms(str(path), run_check=False)
    with tables.table(f"{path}::ANTENNA", readonly=False, ack=False) as antennas:
        antennas.putcol("MOUNT", ["ALT-AZ"] * antennas.nrows())  # as the Measurement Set definition spells it
    _write_pointing(path, tile, declination_deg if drifts else None)


def set_channels(tile: UVData, freqs_hz: NDArray[np.float64], width_hz: float) -> None:
    """Give a tile these channels, all of one width, in its one spectral window."""
    tile.freq_array = freqs_hz
    tile.channel_width = np.full(len(freqs_hz), width_hz)
    tile.flex_spw_id_array = np.full(len(freqs_hz), tile.spw_array[0])
    tile.Nfreqs = len(freqs_hz)


def describe_array(tile: UVData) -> None:
    """Keep the antennas with data, number them from 0 in place, and fill in what CASA wants to know of them."""
    tile.select(antenna_nums=np.union1d(tile.ant_1_array, tile.ant_2_array), keep_all_metadata=False, run_check=False)
    array = tile.telescope
    order = np.argsort(array.antenna_numbers)
    old = np.asarray(array.antenna_numbers)[order]
    array.antenna_names = np.asarray(array.antenna_names)[order]
    array.antenna_positions = np.asarray(array.antenna_positions)[order]
    if array.antenna_diameters is not None:
        array.antenna_diameters = np.asarray(array.antenna_diameters)[order]
    elif array.name in DSA_NAMES:
        array.antenna_diameters = np.full(len(old), DISH_DIAMETER_M)
    array.antenna_numbers = np.arange(len(old))
    array.mount_type = ["alt-az"] * len(old)
    array.set_feeds_from_x_orientation("east", feeds=["x", "y"])
    tile.ant_1_array = np.searchsorted(old, tile.ant_1_array)
    tile.ant_2_array = np.searchsorted(old, tile.ant_2_array)
    tile.baseline_array = tile.antnums_to_baseline(tile.ant_1_array, tile.ant_2_array)
    if array.name in DSA_NAMES:
        array.name = TELESCOPE_NAME
    tile.extra_keywords = {}


def _write_pointing(path: Path, tile: UVData, declination_deg: float | None) -> None:
    """Write where the dishes pointed at each integration: the meridian, or for other telescopes the phase centre."""
    times_jd = np.unique(tile.time_array)
    if declination_deg is None:
        entry = next(iter(tile.phase_center_catalog.values()))
        directions = np.tile([entry["cat_lon"], entry["cat_lat"]], (len(times_jd), 1))
    else:
        positions = meridian_icrs(declination_deg, times_jd, tile.telescope.location)
        directions = np.stack([positions.ra.rad, positions.dec.rad], axis=-1)
    with tables.table(f"{path}::POINTING", readonly=False, ack=False) as pointing:
        times_mjd = pointing.getcol("TIME") / _SECONDS_PER_DAY
        known_mjd = Time(times_jd, format="jd", scale="utc").mjd
        nearest = np.abs(times_mjd[:, None] - known_mjd).argmin(axis=1)
        rows = directions[nearest][:, None, :]
        for column in ("DIRECTION", "TARGET"):
            pointing.putcol(column, rows)
            pointing.putcolkeyword(column, "MEASINFO", {"type": "direction", "Ref": "ICRS"})
        pointing.putcol("NAME", ["MERIDIAN" if declination_deg is not None else "CENTRE"] * len(times_mjd))


def check_measurement_set(path: Path, tile: UVData, centre: PhaseCentre) -> None:
    """Read back what matters and compare.

    Raises:
        BadMeasurementSet: with the first thing found wrong.
    """
    with tables.table(f"{path}::SPECTRAL_WINDOW", ack=False) as window:
        freqs_hz = window.getcell("CHAN_FREQ", 0)
        _demand(window.nrows() == 1, f"{window.nrows()} spectral windows instead of one")
    _demand(bool(np.all(np.diff(freqs_hz) > 0)), "channels do not ascend")
    with tables.table(f"{path}::FIELD", ack=False) as fields:
        _demand(fields.nrows() == 1, f"{fields.nrows()} fields instead of one")
        ra_deg, dec_deg = np.degrees(fields.getcell("PHASE_DIR", 0).ravel()[:2])
    off_arcsec = 3600 * float(angular_separation_deg(ra_deg, dec_deg, centre.ra_deg, centre.dec_deg))
    _demand(off_arcsec < _MAX_CENTRE_ERROR_ARCSEC, f"the phase centre is {off_arcsec:.3f} arcsec off")
    with tables.table(f"{path}::ANTENNA", ack=False) as antennas:
        positions_m = antennas.getcol("POSITION")
        _demand(len(positions_m) == tile.Nants_data, f"{len(positions_m)} antennas instead of {tile.Nants_data}")
    longest_m = float(np.linalg.norm(positions_m[:, None] - positions_m[None], axis=-1).max())
    with tables.table(str(path), ack=False) as main:
        _demand(main.nrows() == tile.Nblts, f"{main.nrows()} rows instead of {tile.Nblts}")
        uvw_m = np.linalg.norm(main.getcol("UVW"), axis=-1)
        first, second = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        times_mjd = np.unique(main.getcol("TIME")) / _SECONDS_PER_DAY
    _demand(float(uvw_m.max()) <= _MAX_UVW_OVER_BASELINE * longest_m, "uvw are longer than the longest baseline")
    _demand(bool((uvw_m[first != second] > 0).all()), "some uvw are zero")
    _demand(bool((first <= second).all()), "some rows have ANTENNA1 > ANTENNA2")
    expected_mjd = Time(np.unique(tile.time_array), format="jd", scale="utc").mjd
    same = len(times_mjd) == len(expected_mjd) and np.allclose(times_mjd, expected_mjd, rtol=0, atol=1e-8)
    _demand(bool(same), "times differ from those of the raw files")


def _demand(holds: bool, fault: str) -> None:
    if not holds:
        raise BadMeasurementSet(fault)
