"""How positions, fluxes and times of the sky are written for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

NOTHING = "–"
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
# Rotation from ICRS to Galactic coordinates: The Hipparcos and Tycho Catalogues (1997), vol. 1, eq. 1.5.11.
_TO_GALACTIC = (
    (-0.0548755604, -0.8734370902, -0.4838350155),
    (0.4941094279, -0.4448296300, 0.7469822445),
    (-0.8676661490, -0.1980763734, 0.4559837762),
)


def hms(ra_deg: float | None, digits: int = 2) -> str:
    """Write a right ascension as 09:23:12.34."""
    return NOTHING if ra_deg is None else _sexagesimal((ra_deg % 360.0) / 15.0, digits, wrap=24)


def dms(dec_deg: float | None, digits: int = 1) -> str:
    """Write a declination as +54:36:12.3."""
    if dec_deg is None:
        return NOTHING
    return f"{'-' if dec_deg < 0 else '+'}{_sexagesimal(abs(dec_deg), digits)}"


def _sexagesimal(value: float, digits: int, wrap: int | None = None) -> str:
    scale = 10**digits
    parts = round(value * 3600 * scale)
    seconds, minutes, whole = parts % (60 * scale), parts // (60 * scale) % 60, parts // (3600 * scale)
    whole = whole % wrap if wrap else whole
    width = digits + 3 if digits else 2
    return f"{whole:02d}:{minutes:02d}:{seconds / scale:0{width}.{digits}f}"


def galactic_deg(ra_deg: float, dec_deg: float) -> tuple[float, float]:
    """Return the Galactic longitude and latitude of an ICRS direction."""
    icrs = _vector(ra_deg, dec_deg)
    return _direction(sum(a * b for a, b in zip(row, icrs, strict=True)) for row in _TO_GALACTIC)


def icrs_deg(longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    """Return the ICRS right ascension and declination of a Galactic direction."""
    place = _vector(longitude_deg, latitude_deg)
    return _direction(
        sum(a * b for a, b in zip(column, place, strict=True)) for column in zip(*_TO_GALACTIC, strict=True)
    )


def _vector(longitude_deg: float, latitude_deg: float) -> tuple[float, float, float]:
    longitude, latitude = math.radians(longitude_deg), math.radians(latitude_deg)
    return math.cos(latitude) * math.cos(longitude), math.cos(latitude) * math.sin(longitude), math.sin(latitude)


def _direction(vector: Iterable[float]) -> tuple[float, float]:
    x, y, z = vector
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.asin(max(-1.0, min(1.0, z))))


def galactic(ra_deg: float | None, dec_deg: float | None) -> str:
    """Write a direction in Galactic coordinates."""
    if ra_deg is None or dec_deg is None:
        return NOTHING
    longitude, latitude = galactic_deg(ra_deg, dec_deg)
    return f"l {longitude:.4f}°, b {latitude:+.4f}°"


def moment_of(mjd: float) -> datetime:
    """Return a modified Julian date (UTC) as a moment."""
    return MJD_EPOCH + timedelta(days=mjd)


def mjd_of(moment: datetime) -> float:
    """Return a moment as a modified Julian date, UTC."""
    return (moment - MJD_EPOCH) / timedelta(days=1)


def flux_density(jy: float | None, error_jy: float | None = None, unit: str = "") -> str:
    """Write a flux density in µJy, mJy or Jy, with as many digits as its error, or else three figures, allow."""
    if jy is None or not math.isfinite(jy):
        return NOTHING
    size = max(abs(jy), abs(error_jy or 0.0))
    factor, name = (1.0, "Jy") if size >= 1 else (1e3, "mJy") if size >= 1e-3 else (1e6, "µJy")
    step = abs(error_jy) * factor if error_jy else abs(jy) * factor / 30
    digits = 0 if step <= 0 else max(0, min(4, 1 - math.floor(math.log10(step))))
    error = f" ± {error_jy * factor:.{digits}f}" if error_jy else ""
    return f"{jy * factor:.{digits}f}{error} {name}{unit}"
