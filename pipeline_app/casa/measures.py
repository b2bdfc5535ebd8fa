"""The measures data that CASA needs, made small and current without a network.

The geodetic tables come from the python-casacore wheel (8 MB are copied; casadata's wheel installs 844), Earth
orientation and leap seconds from the astropy-iers-data package, the position of the DSA-110 from `telescope`. A
directory once built is never changed: another version of an input, or another quarter of the year, makes another.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import astropy.units as u
import astropy_iers_data
import erfa
import numpy as np
from astropy.time import Time
from astropy.utils import iers
from numpy.typing import NDArray

from pipeline_app.telescope import HEIGHT_M, LATITUDE_DEG, LONGITUDE_DEG, TELESCOPE_NAME, array_itrf_m

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


_RECIPE = 1
"""Raise it when this module makes different tables."""
_COPIED = ("IERSeop2000", "IERSeop97", "IERSpredict2000", "IERSpredict", "IGRF", "TAI_UTC", "Observatories")
_EXTENDED = {"IERSeop2000": True, "IERSeop97": True, "IERSpredict2000": False, "IERSpredict": False}
"""Whether the table holds measured values only."""
_OBSERVATORIES = (TELESCOPE_NAME, "DSA-110")


class LeapSecondsExpired(UserWarning):
    """The installed leap-second list is past its date, and CASA warns of it at every run."""


def default_cache() -> Path:
    """Return where measures data are kept: ``$ABSURD_CASA_DATA``, else ``casa-data`` in the state directory."""
    if chosen := os.environ.get("ABSURD_CASA_DATA"):
        return Path(chosen).absolute()
    state = os.environ.get("ABSURD_VAR") or Path(__file__).parents[2] / "var"
    return Path(state).absolute() / "casa-data"


def stamp(now: datetime | None = None) -> str:
    """Return the name of the directory that belongs to the installed inputs at this time."""
    now = now or datetime.now(UTC)
    inputs = (
        _RECIPE,
        version("python-casacore"),
        version("astropy-iers-data"),
        (LATITUDE_DEG, LONGITUDE_DEG, HEIGHT_M),
        (now.year, (now.month - 1) // 3),
    )
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:12]


def prepare(cache: Path) -> Path:
    """Return the measures directory below `cache`, building it first if it is not there.

    Safe to call from many processes at once, and after one was killed half-way. It imports python-casacore: in a
    process that must stay free of CASA, run ``python -m pipeline_app.casa`` instead.
    """
    ready = cache / stamp()
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / ".lock"):
        if not ready.is_dir():
            for left_behind in cache.glob(".building-*"):
                shutil.rmtree(left_behind)
            building = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
            _build(building, datetime.now(UTC))
            building.chmod(0o755)
            building.rename(ready)
    return ready


def known_observatories() -> frozenset[str]:
    """Return the telescopes whose position CASA knows."""
    from casacore import tables

    with tables.table(str(prepare(default_cache()) / "geodetic" / "Observatories"), ack=False) as table:
        return frozenset(table.getcol("Name"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(directory: Path, now: datetime) -> None:
    import casacore

    source = Path(casacore.__file__).parent / "data" / "geodetic"
    for name in _COPIED:
        shutil.copytree(source / name, directory / "geodetic" / name)
    _place_observatories(directory / "geodetic")
    _extend_earth_orientation(directory / "geodetic", now)
    _renew_leap_seconds(directory / "geodetic", now)
    _write_readme(directory, now, content="geodetic")
    _write_readme(directory / "geodetic", now, content="IERSeop2000")


def _place_observatories(geodetic: Path) -> None:
    """Put the array at its one position; the shipped row is 36 m off, with a geodetic latitude given as geocentric."""
    from casacore import tables

    x, y, z = array_itrf_m()
    row = {
        "MJD": 61000.0,
        "Type": "WGS84",
        "Long": LONGITUDE_DEG,
        "Lat": LATITUDE_DEG,
        "Height": HEIGHT_M,
        "X": x,
        "Y": y,
        "Z": z,
        "Source": "dsa110-antpos",
        "Comment": "DSA-110, centre of the T",
        "AntennaResponses": "",
    }
    with tables.table(str(geodetic / "Observatories"), readonly=False, ack=False) as table:
        names = list(table.getcol("Name"))
        for name in _OBSERVATORIES:
            if name not in names:
                table.addrows(1)
                names.append(name)
            for column, value in (row | {"Name": name}).items():
                table.putcell(column, names.index(name), value)


def _extend_earth_orientation(geodetic: Path, now: datetime) -> None:
    from casacore import tables

    from pipeline_app.casa.measures import read_earth_orientation

    days = read_earth_orientation()
    for name, measured_only in _EXTENDED.items():
        with tables.table(str(geodetic / name), readonly=False, ack=False) as table:
            start = table.nrows()
            last_mjd = float(table.getcell("MJD", start - 1))
            new = (days.mjd > last_mjd) & (days.measured | (not measured_only))
            new_mjd = days.mjd[new]
            if not len(new_mjd):
                continue
            if new_mjd[0] != last_mjd + 1 or (new_mjd[1:] - new_mjd[:-1] != 1).any():
                raise RuntimeError(f"Earth orientation has a gap after MJD {last_mjd:.0f}: {name} cannot be extended")
            table.addrows(len(new_mjd))
            for column in table.colnames():
                values = new_mjd if column == "MJD" else days.columns[column][new]
                table.putcol(column, values, start, len(new_mjd))
            table.putkeyword("VS_DATE", _casa_date(now))


def _renew_leap_seconds(geodetic: Path, now: datetime) -> None:
    """Add new leap seconds, and date the table today, while the installed list is known to hold today."""
    import astropy_iers_data
    from astropy.utils import iers
    from casacore import tables

    known = iers.LeapSeconds.from_iers_leap_seconds(astropy_iers_data.IERS_LEAP_SECOND_FILE)
    with tables.table(str(geodetic / "TAI_UTC"), readonly=False, ack=False) as table:
        last_mjd = float(table.getcell("MJD", table.nrows() - 1))
        for entry in known:
            if entry["mjd"] > last_mjd:
                row = table.nrows()
                table.addrows(1)
                values = {"MJD": entry["mjd"], "dUTC": entry["tai_utc"], "Offset": 41317.0, "Multiplier": 0.0}
                for column, value in values.items():
                    table.putcell(column, row, float(value))
        if known.expires.utc.to_datetime(timezone=UTC) > now:
            table.putkeyword("VS_DATE", _casa_date(now))
        else:
            warnings.warn(
                f"leap seconds known until {known.expires.iso[:10]} only: update astropy-iers-data",
                LeapSecondsExpired,
                stacklevel=2,
            )


def _write_readme(directory: Path, now: datetime, *, content: str) -> None:
    """Identify the data in the form that casaconfig reads."""
    (directory / "readme.txt").write_text(
        "# measures data made by Absurd from installed packages\n"
        "site : none\n"
        f"version : absurd-{stamp(now)}\n"
        f"date : {now:%Y-%m-%d}\n"
        "#\n"
        f"{content}\n"
    )


def _casa_date(now: datetime) -> str:
    return f"{now:%Y/%m/%d/%H:%M}"
