"""The project's own table of calibrators: which one is in the beam, and how bright it arrives."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline_app.telescope import REFERENCE_FREQ_HZ, angular_separation_deg, power_beam

_TABLE = Path(__file__).parent / "data" / "calibrators.csv"


class UnknownCalibrator(LookupError):
    """No calibrator of that name is in the table."""


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """One calibrator; `flux_jy` is None where no 20 cm flux is published, and stays None."""

    name: str
    vla_name: str
    ra_deg: float
    dec_deg: float
    flux_jy: float | None
    """Flux density at 1.405 GHz."""
    alpha: float | None
    """Spectral index near 1.4 GHz, S proportional to freq^alpha; None where unknown."""
    origin: str
    """Where the flux comes from; the table's header explains the words."""

    def offset_deg(self, ra_deg: float, dec_deg: float) -> float:
        """Return its distance in degrees from an ICRS direction."""
        return float(angular_separation_deg(self.ra_deg, self.dec_deg, ra_deg, dec_deg))

    def flux_at(self, freq_hz: float) -> float:
        """Return the flux density in Jy at a frequency; a spectrum of unknown index is taken as flat.

        Raises:
            ValueError: the table has no flux for this calibrator.
        """
        if self.flux_jy is None:
            raise ValueError(f"calibrator {self.name} has no known flux at 1.4 GHz")
        return self.flux_jy * (freq_hz / REFERENCE_FREQ_HZ) ** (self.alpha or 0.0)


@cache
def calibrators() -> tuple[Calibrator, ...]:
    """Return the whole table, in order of VLA name."""
    with _TABLE.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return tuple(
        Calibrator(
            name=row["name"],
            vla_name=row["vla_name"],
            ra_deg=float(row["ra_deg"]),
            dec_deg=float(row["dec_deg"]),
            flux_jy=float(row["flux_jy"]) if row["flux_jy"] else None,
            alpha=float(row["alpha"]) if row["alpha"] else None,
            origin=row["origin"],
        )
        for row in rows
    )


def calibrator(name: str) -> Calibrator:
    """Return the calibrator called `name`, by its own or its VLA name.

    Raises:
        UnknownCalibrator: the table has none of that name.
    """
    for candidate in calibrators():
        if name in (candidate.name, candidate.vla_name):
            return candidate
    raise UnknownCalibrator(f"no calibrator {name!r} in the project's table")


def beam_weighted_flux_jy(source: Calibrator, ra_deg: float, dec_deg: float, freq_hz: float) -> float:
    """Return the flux density with which a calibrator arrives when the dishes point to an ICRS direction.

    Raises:
        ValueError: the table has no flux for this calibrator.
    """
    return source.flux_at(freq_hz) * float(power_beam(source.offset_deg(ra_deg, dec_deg), freq_hz))


def brightest_in_beam(
    ra_deg: float,
    dec_deg: float,
    freq_hz: float = REFERENCE_FREQ_HZ,
    *,
    radius_deg: float = 2.5,
    table: Iterable[Calibrator] | None = None,
) -> tuple[Calibrator, float] | None:
    """Return the calibrator that arrives brightest and its beam-weighted flux in Jy, or None when none is near.

    Calibrators without a known flux never count. `radius_deg` keeps to the main lobe (first null at 3.2 degrees).
    """
    known = [c for c in (calibrators() if table is None else table) if c.flux_jy is not None]
    near = [c for c in known if c.offset_deg(ra_deg, dec_deg) <= radius_deg]
    weighted = [(c, beam_weighted_flux_jy(c, ra_deg, dec_deg, freq_hz)) for c in near]
    return max(weighted, key=lambda pair: pair[1], default=None)
