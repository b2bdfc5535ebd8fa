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
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pipeline_app.telescope import HEIGHT_M, LATITUDE_DEG, LONGITUDE_DEG, TELESCOPE_NAME, array_itrf_m

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

    from pipeline_app.casa.earth_orientation import read_earth_orientation

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
