"""How positions, fluxes and times of the sky are written for people, and read from what they paste."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NOTHING = "–"
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
# Rotation from ICRS to Galactic coordinates: The Hipparcos and Tycho Catalogues (1997), vol. 1, eq. 1.5.11.
_TO_GALACTIC = (
    (-0.0548755604, -0.8734370902, -0.4838350155),
    (0.4941094279, -0.4448296300, 0.7469822445),
    (-0.8676661490, -0.1980763734, 0.4559837762),
)
_PAIR = re.compile(r"\s*(?P<ra>[-+]?[\d.]+|[\d.:hms ]+?)[\s,]+(?P<dec>[-+−]?[\d.]+|[-+−][\d.:dms°′″'\" ]+?)\s*")
DEFAULT_RADIUS_ARCMIN = 2.0


@dataclass(frozen=True, kw_only=True)
class Cone:
    """A place on the sky and how far around it to search."""

    ra_deg: float
    dec_deg: float
    radius_arcmin: float = DEFAULT_RADIUS_ARCMIN


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
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    icrs = (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))
    x, y, z = (sum(a * b for a, b in zip(row, icrs, strict=True)) for row in _TO_GALACTIC)
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


def read_cone(text: str) -> Cone | None:
    """Read a position: 09:23:12.3 +54:36:12, 09h23m12.3s +54d36m12s or degrees, and if given a radius as r=5 (arcmin).

    None where the text is none.
    """
    text = text.strip().replace("−", "-")
    radius = re.search(r"\s+r\s*=\s*([\d.]+)\s*$", text)
    place = _PAIR.fullmatch(text[: radius.start()] if radius else text)
    if place is None:
        return None
    try:
        is_sexagesimal = bool(re.search(r"[:hms ]", place["ra"].strip()))
        ra_deg = _number(place["ra"]) * (15.0 if is_sexagesimal else 1.0)
        dec_deg = _number(place["dec"])
        radius_arcmin = float(radius[1]) if radius else DEFAULT_RADIUS_ARCMIN
    except ValueError:
        return None
    if not (0 <= ra_deg <= 360 and -90 <= dec_deg <= 90 and 0 < radius_arcmin <= 600):
        return None
    return Cone(ra_deg=ra_deg % 360.0, dec_deg=dec_deg, radius_arcmin=radius_arcmin)


def _number(text: str) -> float:
    parts = [float(part) for part in re.split(r"[^\d.]+", text.strip().lstrip("+-")) if part]
    if not 1 <= len(parts) <= 3 or any(part >= 60 for part in parts[1:]):
        raise ValueError(text)
    value = sum(part / 60**index for index, part in enumerate(parts))
    return -value if text.strip().startswith("-") else value
