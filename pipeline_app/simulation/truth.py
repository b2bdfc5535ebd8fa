"""What was put into a simulated tile; read by tests and by the demo's judgement, never by a stage."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.spec import Defects, SmearingSpec, Source


@dataclass(frozen=True, kw_only=True)
class TileTruth:
    """The truth of one tile, kept beside its files as ``<name>_truth.json`` and ``<name>_gains.npz``."""

    name: str
    kind: str
    files: tuple[str, ...]
    """Names of the subband files, from subband 0."""
    start_time: str
    mid_time_mjd: float
    duration_sec: float
    declination_deg: float
    pointing_ra_deg: float
    pointing_dec_deg: float
    """ICRS at mid-time."""
    sources: tuple[Source, ...]
    sigma_jy: float
    """Noise of each part of one visibility before the gains."""
    thermal_rms_jy: float
    """Noise of a naturally weighted Stokes I image from perfectly calibrated data, at the pointing."""
    antenna_names: tuple[str, ...]
    """As in the raw header, in the order of `gains`."""
    freqs_hz: NDArray[np.float64]
    """Ascending, shape (n_channels,)."""
    delays_ns: NDArray[np.float64]
    """Shape (n_antennas, 2)."""
    gains: NDArray[np.complex128]
    """Shape (n_antennas, 2, n_channels), at mid-time: V_12 in the raw file is g_1 conj(g_2) times the sky's.

    A Measurement Set written from it holds the conjugate visibilities, so CASA solves for the conjugates of these.
    """
    phase_slopes_deg: NDArray[np.float64]
    """Shape (n_antennas, 2): change of the gains' phase from the start of the tile to its end."""
    smearing: SmearingSpec | None = None
    defects: Defects = field(default_factory=Defects)

    def save(self, directory: Path) -> None:
        plain = {k: v for k, v in self.__dict__.items() if k not in _ARRAYS} | {
            "sources": [asdict(s) for s in self.sources],
            "smearing": asdict(self.smearing) if self.smearing else None,
            "defects": self.defects.as_dict(),
        }
        (directory / f"{self.name}_truth.json").write_text(json.dumps(plain, indent=1))
        np.savez(directory / f"{self.name}_gains.npz", **{k: getattr(self, k) for k in _ARRAYS})

    @classmethod
    def load(cls, directory: Path, name: str) -> TileTruth:
        plain = json.loads((directory / f"{name}_truth.json").read_text())
        with np.load(directory / f"{name}_gains.npz") as arrays:
            plain |= {k: arrays[k] for k in _ARRAYS if k in arrays}
        plain.setdefault("phase_slopes_deg", np.zeros(plain["delays_ns"].shape))
        for key in ("files", "antenna_names"):
            plain[key] = tuple(plain[key])
        plain["sources"] = tuple(Source(**s) for s in plain["sources"])
        plain["smearing"] = SmearingSpec(**plain["smearing"]) if plain.get("smearing") else None
        plain["defects"] = Defects.from_dict(plain.get("defects", {}))
        return cls(**plain)


_ARRAYS = ("freqs_hz", "delays_ns", "gains", "phase_slopes_deg")
