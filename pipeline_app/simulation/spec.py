"""What a simulated tile is made of, defects included. Antennas are named by station number, as in the raw header."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pipeline_app.naming import tile_name
from pipeline_app.telescope import (
    CHANNEL_WIDTH_HZ,
    CHANNELS_PER_SUBBAND,
    INTEGRATION_TIME_SEC,
    INTEGRATIONS_PER_TILE,
    N_SUBBANDS,
    REFERENCE_FREQ_HZ,
    SEFD_JY,
)

Polarization = Literal["XX", "YY"]
POLARIZATIONS: tuple[Polarization, ...] = ("XX", "YY")


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Interference in one integration over one subband: on every baseline, with a phase of its own."""

    time_index: int
    subband: int
    noise_multiple: float


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """Interference in one channel of a subband, over the whole tile; the phase changes with every integration."""

    subband: int
    channel: int
    """In the file's order, descending in frequency."""
    noise_multiple: float


@dataclass(frozen=True, kw_only=True)
class AntennaFault:
    """An antenna, or one polarisation of it, that delivers only its noise or only zeros."""

    station: int
    kind: Literal["noise", "zero"] = "noise"
    polarization: Polarization | None = None
    """None: both."""


@dataclass(frozen=True, kw_only=True)
class WeakIntegration:
    """One integration that is too weak, signal and noise alike."""

    time_index: int
    factor: float = 0.01


@dataclass(frozen=True, kw_only=True)
class LostSamples:
    """One integration of one subband that was not received: `nsamples` is 0, and the buffer holds noise."""

    time_index: int
    subband: int


@dataclass(frozen=True, kw_only=True)
class RollOff:
    """A filter whose response falls at both edges of every subband, before most of the noise enters.

    The outermost `channels` of each edge pass less of the sky, the last one `response` of it in power; the noise is the
    same in all channels, so that calibrated data are noisier at the edges.
    """

    channels: int
    response: float


@dataclass(frozen=True, kw_only=True)
class Defects:
    """All defects of a tile.

    Amplitudes of interference are multiples of the noise: of the rms of the real part of one visibility of the tile.
    """

    bursts: tuple[Burst, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    antennas: tuple[AntennaFault, ...] = ()
    weak: tuple[WeakIntegration, ...] = ()
    lost: tuple[LostSamples, ...] = ()
    roll_off: tuple[RollOff, ...] = ()

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        return {kind.name: [asdict(defect) for defect in getattr(self, kind.name)] for kind in fields(self)}

    @classmethod
    def from_dict(cls, plain: dict[str, list[dict[str, Any]]]) -> Defects:
        return cls(**{name: tuple(_CLASSES[name](**defect) for defect in defects) for name, defects in plain.items()})

    def check(self, *, n_times: int, subbands: tuple[int, ...], channels_per_subband: int) -> None:
        """Raise ValueError for a defect that lies outside a tile of this shape."""
        in_time: tuple[Burst | WeakIntegration | LostSamples, ...] = (*self.bursts, *self.weak, *self.lost)
        in_band: tuple[Burst | Carrier | LostSamples, ...] = (*self.bursts, *self.carriers, *self.lost)
        for timed in in_time:
            if not 0 <= timed.time_index < n_times:
                raise ValueError(f"{timed}: time_index must be in 0..{n_times - 1}")
        for placed in in_band:
            if placed.subband not in subbands:
                raise ValueError(f"{placed}: the tile has no subband {placed.subband}")
        for carrier in self.carriers:
            if not 0 <= carrier.channel < channels_per_subband:
                raise ValueError(f"{carrier}: channel must be in 0..{channels_per_subband - 1}")
        for edge in self.roll_off:
            if not (0 < edge.channels <= channels_per_subband // 2 and 0 < edge.response <= 1):
                raise ValueError(
                    f"{edge}: channels must be in 1..{channels_per_subband // 2}, response above 0 and at most 1"
                )


_CLASSES: dict[str, type] = {
    "bursts": Burst,
    "carriers": Carrier,
    "antennas": AntennaFault,
    "weak": WeakIntegration,
    "lost": LostSamples,
    "roll_off": RollOff,
}


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
    slope_phase_deg: float = 0.0
    """Rms change of a station's phase from the start of this tile to its end, linear in time, zero in the middle."""


@dataclass(frozen=True, kw_only=True)
class SmearingSpec:
    """Averaging within channels and integrations; None takes the tile's own width.

    The correlator follows the sidereal motion of the phase centre within an integration, so that only sources away
    from it lose amplitude.
    """

    channel_width_hz: float | None = None
    integration_time_sec: float | None = None


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """Sources scattered within a radius of the pointing at mid-tile, with fluxes in equal ratios between two limits."""

    count: int = 12
    flux_jy: tuple[float, float] | None = (0.05, 1.0)
    snr: tuple[float, float] | None = None
    """In place of `flux_jy`: apparent flux over the thermal rms of the tile (`TileTruth.thermal_rms_jy`)."""
    radius_deg: float = 0.95
    apart_deg: float = 0.12
    seed: int = 5

    def __post_init__(self) -> None:
        if (self.flux_jy is None) == (self.snr is None):
            raise ValueError("give either flux_jy or snr of a field")
        limits = self.flux_jy or self.snr or (0.0, 0.0)
        if not 0 < limits[0] <= limits[1]:
            raise ValueError(f"the limits of a field's fluxes must be positive and ascending (got {limits})")


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
    smearing: SmearingSpec | None = None
    """None: channels and integrations are taken at their centres."""
    defects: Defects = field(default_factory=Defects)
    seed: int = 1
    """Of the noise, the gain drift and the hosts' clocks."""

    def __post_init__(self) -> None:
        if self.start_time.tzinfo is None:
            raise ValueError("start_time needs a time zone")
        if self.n_antennas < 2 or self.n_times < 1:
            raise ValueError("a tile needs two antennas and one integration")
        self.defects.check(n_times=self.n_times, subbands=self.subbands, channels_per_subband=self.channels_per_subband)

    @property
    def name(self) -> str:
        return tile_name(self.start_time)

    @property
    def duration_sec(self) -> float:
        return self.n_times * self.integration_time_sec

    @property
    def channel_width_hz(self) -> float:
        return CHANNEL_WIDTH_HZ * CHANNELS_PER_SUBBAND / self.channels_per_subband

    @property
    def mid_time(self) -> datetime:
        """UTC middle of the tile."""
        return self.start_time.astimezone(UTC) + timedelta(seconds=self.duration_sec / 2)
