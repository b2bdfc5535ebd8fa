"""Earth orientation parameters of the astropy-iers-data package, in the terms of casacore's tables."""

from __future__ import annotations

from dataclasses import dataclass

import astropy.units as u
import astropy_iers_data
import erfa
import numpy as np
from astropy.time import Time
from astropy.utils import iers
from numpy.typing import NDArray

_MEASURED = ("B", "I")
"""Flags of final and of rapid-service values; P marks predictions."""


@dataclass(frozen=True, kw_only=True)
class EarthOrientation:
    """One value a day; angles in arcsec, times in seconds."""

    mjd: NDArray[np.float64]
    measured: NDArray[np.bool_]
    """False for predictions."""
    columns: dict[str, NDArray[np.float64]]
    """By the column names of casacore's IERS tables; errors start with D."""


def read_earth_orientation() -> EarthOrientation:
    """Read the IERS bulletin A that the installed package carries, for days with a UT1."""
    table = iers.IERS_A.open(astropy_iers_data.IERS_A_FILE)
    mjd = np.asarray(table["MJD"].value, dtype=float)
    x, y = (_value(table, name, u.arcsec) for name in ("PM_x", "PM_y"))
    dut1 = _value(table, "UT1_UTC", u.s)
    columns = {"x": x, "y": y, "dUT1": dut1}
    for name, source, unit in (
        ("Dx", "e_PM_x_A", u.arcsec),
        ("Dy", "e_PM_y_A", u.arcsec),
        ("DdUT1", "e_UT1_UTC_A", u.s),
        ("LOD", "LOD_A", u.s),
        ("DLOD", "e_LOD_A", u.s),
        ("dX", "dX_2000A", u.arcsec),
        ("DdX", "e_dX_2000A_A", u.arcsec),
        ("dY", "dY_2000A", u.arcsec),
        ("DdY", "e_dY_2000A_A", u.arcsec),
    ):
        # nutation is predicted for two months only, and length of day never: casacore's own predictions have 0 there
        columns[name] = np.nan_to_num(_value(table, source, unit), nan=0.0)
    columns["dPsi"], columns["dEps"] = nutation_1980_offsets_arcsec(mjd, columns["dX"], columns["dY"])
    columns["DdPsi"], columns["DdEps"] = columns["DdX"], columns["DdY"]
    known = np.isfinite(dut1) & np.isfinite(x) & np.isfinite(y)
    return EarthOrientation(
        mjd=mjd[known],
        measured=np.isin(np.asarray(table["UT1Flag"]), _MEASURED)[known],
        columns={name: values[known] for name, values in columns.items()},
    )


def _value(table: iers.IERS_A, name: str, unit: u.Unit) -> NDArray[np.float64]:
    column = table[name]
    values = np.ma.filled(np.ma.asarray(column.to_value(unit) if hasattr(column, "to_value") else column), np.nan)
    return np.asarray(values, dtype=float)


def nutation_1980_offsets_arcsec(
    mjd: NDArray[np.float64], dx_arcsec: NDArray[np.float64], dy_arcsec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (dPsi, dEps): what must be added to the IAU 1980 nutation to put the pole where it is.

    The pole is that of the IAU 2000A model with the observed offsets (dX, dY); seen from the IAU 1976 mean equator and
    equinox of date its place gives the true nutation angles, from which the 1980 series is taken.
    """
    times = Time(mjd, format="mjd", scale="utc").tt
    x, y, _s = erfa.xys00a(times.jd1, times.jd2)
    x, y = x + np.radians(dx_arcsec / 3600), y + np.radians(dy_arcsec / 3600)
    pole = np.stack([x, y, np.sqrt(1 - x**2 - y**2)], axis=-1)
    of_date = np.einsum("...ij,...j->...i", erfa.pmat76(times.jd1, times.jd2), pole)
    mean_obliquity = erfa.obl80(times.jd1, times.jd2)
    psi, obliquity = np.zeros_like(mjd), mean_obliquity
    for _ in range(3):
        bend = (1 - np.cos(psi)) * np.sin(obliquity) * np.cos(mean_obliquity)
        obliquity = mean_obliquity + np.arcsin(of_date[..., 1] + bend)
        psi = np.arcsin(of_date[..., 0] / np.sin(obliquity))
    psi80, eps80 = erfa.nut80(times.jd1, times.jd2)
    return np.degrees(psi - psi80) * 3600, np.degrees(obliquity - mean_obliquity - eps80) * 3600
