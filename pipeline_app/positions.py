"""Positions on the sky as people paste them: numbers in several notations, and names that are made of a position."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pipeline_app.sky_text import icrs_deg

_PAIR = re.compile(r"\s*(?P<ra>[-+]?[\d.]+°?|[\d.:hms ]+?)[\s,]+(?P<dec>[-+]?[\d.]+°?|[-+][\d.:dms°′″'\" ]+?)\s*")
_GALACTIC = re.compile(r"\s*l\s*=?\s*(?P<l>[\d.]+)°?[\s,]+b\s*=?\s*(?P<b>[-+]?[\d.]+)°?\s*", re.IGNORECASE)
_NAME = re.compile(
    r"(?:[a-z][\w-]*\s+)?J\s?(?P<ra>\d{4}(?:\.\d+|\d\d(?:\.\d+)?)?)(?P<dec>[-+]\d{3}(?:\d(?:\.\d+|\d\d(?:\.\d+)?)?)?)",
    re.IGNORECASE,
)
"""Such as J0834+555, J083454.90+553421.1 or NVSS J083454+553421."""
_RADIUS = re.compile(r"\s+r\s*=\s*([\d.]+)\s*$")
DEFAULT_RADIUS_ARCMIN = 2.0
RADIUS_MOST_ARCMIN = 600.0


@dataclass(frozen=True, kw_only=True)
class Cone:
    """A place on the sky, ICRS, and how far around it to search."""

    ra_deg: float
    dec_deg: float
    radius_arcmin: float = DEFAULT_RADIUS_ARCMIN


def read_cone(text: str) -> Cone | None:
    """Read a position and, if given as r=5, a radius in arcmin. None where the text is none.

    Right ascension and declination as 09:23:12.3 +54:36:12, 09h23m12.3s +54d36m12s, or in degrees; Galactic as
    l 162.7 b +40.3; or a name made of a position as J0834+555, whose radius covers all that the name can mean.
    """
    text = text.strip().replace("−", "-")
    radius = _RADIUS.search(text)
    place = text[: radius.start()] if radius else text
    try:
        found = _galactic(place) or _named(place) or _pair(place)
        radius_arcmin = float(radius[1]) if radius else None
    except ValueError:
        return None
    if found is None:
        return None
    cone = Cone(ra_deg=found.ra_deg % 360.0, dec_deg=found.dec_deg, radius_arcmin=radius_arcmin or found.radius_arcmin)
    in_range = 0 <= found.ra_deg <= 360 and -90 <= cone.dec_deg <= 90
    return cone if in_range and radius_arcmin != 0 and cone.radius_arcmin <= RADIUS_MOST_ARCMIN else None


def _galactic(text: str) -> Cone | None:
    found = _GALACTIC.fullmatch(text)
    if found is None or abs(float(found["b"])) > 90:
        return None
    ra_deg, dec_deg = icrs_deg(float(found["l"]), float(found["b"]))
    return Cone(ra_deg=ra_deg, dec_deg=dec_deg)


def _pair(text: str) -> Cone | None:
    found = _PAIR.fullmatch(text)
    if found is None:
        return None
    is_sexagesimal = bool(re.search(r"[:hms ]", found["ra"].strip()))
    return Cone(ra_deg=_number(found["ra"]) * (15.0 if is_sexagesimal else 1.0), dec_deg=_number(found["dec"]))


def _named(text: str) -> Cone | None:
    """Read a name; its digits are cut off, not rounded, so that the place lies half a step further on."""
    found = _NAME.fullmatch(text.strip())
    if found is None:
        return None
    (ra_hours, ra_step), (dec, dec_step) = _packed(found["ra"]), _packed(found["dec"][1:])
    dec_deg = math.copysign(dec + dec_step / 2, -1.0 if found["dec"].startswith("-") else 1.0)
    across_deg = 15.0 * ra_step / 2 * math.cos(math.radians(min(abs(dec_deg), 90.0)))
    reach_arcmin = 60.0 * math.hypot(across_deg, dec_step / 2)
    return Cone(
        ra_deg=15.0 * (ra_hours + ra_step / 2),
        dec_deg=dec_deg,
        radius_arcmin=max(DEFAULT_RADIUS_ARCMIN, math.ceil(10 * reach_arcmin) / 10),
    )


def _packed(digits: str) -> tuple[float, float]:
    """Return the value of 083454.9 (of 555: 55.5), in hours or degrees, and the step of its last digit."""
    if len(digits) == 3:
        return float(digits) / 10, 0.1
    whole, _, decimals = digits.partition(".")
    parts = [float(whole[at : at + 2]) for at in range(0, len(whole), 2)]
    parts[-1] += float(f"0.{decimals}") if decimals else 0.0
    if any(part >= 60 for part in parts[1:]):
        raise ValueError(digits)
    return sum(part / 60**n for n, part in enumerate(parts)), 1 / 60 ** (len(parts) - 1) / 10 ** len(decimals)


def _number(text: str) -> float:
    parts = [float(part) for part in re.split(r"[^\d.]+", text.strip().lstrip("+-")) if part]
    if not 1 <= len(parts) <= 3 or any(part >= 60 for part in parts[1:]):
        raise ValueError(text)
    value = sum(part / 60**index for index, part in enumerate(parts))
    return -value if text.strip().startswith("-") else value
