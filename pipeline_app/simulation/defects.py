"""What can be wrong with the data of a simulated tile. Each defect is stated by itself and kept in the tile's truth.

Amplitudes of interference are multiples of the noise: of the rms of the real part of one visibility of the tile.
Antennas are named by station number, as in the raw header.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

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
    """All defects of a tile."""

    bursts: tuple[Burst, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    antennas: tuple[AntennaFault, ...] = ()
    weak: tuple[WeakIntegration, ...] = ()
    lost: tuple[LostSamples, ...] = ()
    roll_off: tuple[RollOff, ...] = ()

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return plain values for JSON."""
        return {kind.name: [asdict(defect) for defect in getattr(self, kind.name)] for kind in fields(self)}

    @classmethod
    def from_dict(cls, plain: dict[str, list[dict[str, Any]]]) -> Defects:
        """Read what `as_dict` returned."""
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
