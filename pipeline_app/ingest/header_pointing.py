"""Where the telescope pointed, by the header of a raw UVH5 file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from pipeline_app.ingest.datasets import BadRawFile, first_number, optional_number, text

DECLINATION_KEYS_TOLERANCE_DEG = 1e-3
"""How far two declinations of one header may differ: by rounding, not by epoch."""
HOUR_ANGLE_TOLERANCE_RAD = 1e-6
_WITH_CATALOG = ("phase_center_app_ra", "phase_center_app_dec", "phase_center_frame_pa", "phase_center_id_array")


def read_pointing(header: h5py.Group, *, is_dsa: bool, latitude_deg: float) -> tuple[float, tuple[float, float] | None]:
    """Return the apparent declination in degrees and, unless the telescope drifts, the ICRS phase centre in degrees.

    A DSA-110 file that drifts must name its declination; other drifting telescopes point to the zenith.

    Raises:
        BadRawFile: the header has no pointing, or two that differ.
    """
    centre_deg = _phase_centre_deg(header)
    if not is_dsa:
        return (latitude_deg, None) if centre_deg is None else (centre_deg[1], centre_deg)
    declination_deg = _dsa_declination_deg(header)
    if centre_deg is not None:
        return centre_deg[1] if declination_deg is None else declination_deg, centre_deg
    if declination_deg is None:
        raise BadRawFile("the pointing is unknown: the header has no extra_keywords/phase_center_dec")
    return declination_deg, None


def _dsa_declination_deg(header: h5py.Group) -> float | None:
    """Return the declination that the correlator's keys agree on. Raises BadRawFile when they do not."""
    extra = header.get("extra_keywords")
    hour_angle_rad = optional_number(extra, "ha_phase_center")
    if hour_angle_rad is not None and abs(hour_angle_rad) > HOUR_ANGLE_TOLERANCE_RAD:
        raise BadRawFile(
            f"extra_keywords/ha_phase_center is {hour_angle_rad:g} rad: only data stopped at hour angle 0 can be used"
        )
    declinations_deg = {
        name: float(np.degrees(value))
        for name, value in (
            ("extra_keywords/phase_center_dec", optional_number(extra, "phase_center_dec")),
            ("phase_center_app_dec", optional_number(header, "phase_center_app_dec")),
        )
        if value is not None
    }
    for name, value_deg in declinations_deg.items():
        if abs(value_deg) > 90:
            raise BadRawFile(f"{name} is {value_deg:g}°, not within -90° and 90°")
    if len(declinations_deg) > 1 and np.ptp(list(declinations_deg.values())) > DECLINATION_KEYS_TOLERANCE_DEG:
        listed = ", ".join(f"{name} is {value_deg:.4f}°" for name, value_deg in declinations_deg.items())
        raise BadRawFile(f"the header contradicts itself: {listed}")
    return next(iter(declinations_deg.values()), None)


def _phase_centre_deg(header: h5py.Group) -> tuple[float, float] | None:
    """Return the one fixed direction of the phase centre, None where fringes are not stopped or at the meridian."""
    catalog = _catalog(header)
    if catalog is None:
        if "phase_type" not in header:
            raise BadRawFile("the header lacks phase_type or phase_center_catalog")
        if text(header["phase_type"]) != "phased":
            return None
        return _degrees(first_number(header, "phase_center_ra"), first_number(header, "phase_center_dec"))
    missing = [name for name in _WITH_CATALOG if name not in header]
    if missing:
        raise BadRawFile(f"the header lacks {', '.join(missing)}")
    kinds = {entry["cat_type"] for entry in catalog}
    if kinds == {"unprojected"}:
        return None
    if len(catalog) != 1 or kinds != {"sidereal"}:
        raise BadRawFile("the file has several phase centres, or a moving one")
    return _degrees(float(catalog[0]["cat_lon"]), float(catalog[0]["cat_lat"]))


def _catalog(header: h5py.Group) -> list[Mapping[str, Any]] | None:
    """Return the entries of the phase centre catalogue, a group or (before UVH5 1.1) JSON; None without one."""
    found = header.get("phase_center_catalog")
    if found is None:
        return None
    if isinstance(found, h5py.Dataset):
        entries = list(json.loads(text(found)).values())
    else:
        entries = [
            {"cat_type": text(entry["cat_type"])}
            | {name: first_number(entry, name) for name in ("cat_lon", "cat_lat") if name in entry}
            for entry in found.values()
        ]
    if not entries or any(
        entry["cat_type"] == "sidereal" and not {"cat_lon", "cat_lat"} <= set(entry) for entry in entries
    ):
        raise BadRawFile("phase_center_catalog is empty or lacks cat_lon and cat_lat")
    return entries


def _degrees(ra_rad: float, dec_rad: float) -> tuple[float, float]:
    if abs(dec_rad) > np.pi / 2 + 1e-9:
        raise BadRawFile(f"the declination of the phase centre is {np.degrees(dec_rad):g}°")
    return float(np.degrees(ra_rad) % 360), float(np.degrees(dec_rad))
