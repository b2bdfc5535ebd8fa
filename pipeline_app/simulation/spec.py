"""What a simulated tile is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from pipeline_app.naming import tile_name
from pipeline_app.telescope import (
    CHANNELS_PER_SUBBAND,
    INTEGRATION_TIME_SEC,
    INTEGRATIONS_PER_TILE,
    N_SUBBANDS,
    REFERENCE_FREQ_HZ,
    SEFD_JY,
)

TileKind = Literal["calibrator", "target"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A point source of known position and spectrum."""

    name: str
    ra_deg: float
    dec_deg: float
    """ICRS."""
    flux_jy: float
    """Stokes I at 1.405 GHz, before any beam."""
    alpha: float = 0.0

    def flux_at(self, freq_hz: float) -> float:
        """Return the flux density in Jy at a frequency."""
        return self.flux_jy * (freq_hz / REFERENCE_FREQ_HZ) ** self.alpha


@dataclass(frozen=True, kw_only=True)
class GainSpec:
    """How antenna gains scatter. Tiles that share the seed share the gains, station by station, save for the drift."""

    seed: int = 7
    amplitude_range: tuple[float, float] = (0.8, 1.25)
    max_phase_deg: float = 180.0
    max_delay_ns: float = 15.0
    ripple_amplitude: float = 0.1
    ripple_phase_rad: float = 0.2
    drift_phase_deg: float = 0.0
    """Rms phase by which a station differs in this tile from the shared gains."""
    drift_amplitude: float = 0.0
    """Rms fractional amplitude of the same."""

    @classmethod
    def perfect(cls) -> GainSpec:
        """Return gains that are all exactly one."""
        return cls(
            amplitude_range=(1.0, 1.0), max_phase_deg=0.0, max_delay_ns=0.0, ripple_amplitude=0.0, ripple_phase_rad=0.0
        )


@dataclass(frozen=True, kw_only=True)
class TileSpec:
    """One tile to simulate; the defaults are the real size."""

    kind: TileKind
    start_time: datetime
    """UTC start of the first integration."""
    declination_deg: float
    """Apparent declination to which the dishes point, on the meridian."""
    sources: tuple[Source, ...]
    n_antennas: int = 96
    channels_per_subband: int = CHANNELS_PER_SUBBAND
    subbands: tuple[int, ...] = tuple(range(N_SUBBANDS))
    n_times: int = INTEGRATIONS_PER_TILE
    integration_time_sec: float = INTEGRATION_TIME_SEC
    sefd_jy: float = SEFD_JY
    """Zero makes noiseless data."""
    gains: GainSpec = field(default_factory=GainSpec)
    beam: bool = True
    seed: int = 1
    """Of the noise, the gain drift and the hosts' clocks."""

    def __post_init__(self) -> None:
        if self.start_time.tzinfo is None:
            raise ValueError("start_time needs a time zone")
        if self.n_antennas < 2 or self.n_times < 1:
            raise ValueError("a tile needs two antennas and one integration")

    @property
    def name(self) -> str:
        """Name of the observation."""
        return tile_name(self.start_time)

    @property
    def duration_sec(self) -> float:
        """Length of the tile."""
        return self.n_times * self.integration_time_sec

    @property
    def mid_time(self) -> datetime:
        """UTC middle of the tile."""
        return self.start_time.astimezone(UTC) + timedelta(seconds=self.duration_sec / 2)
