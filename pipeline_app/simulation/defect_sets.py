"""Sets of defects by name: what can happen to a target's tile between its calibration and its image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pipeline_app.simulation.defects import AntennaFault, Burst, Carrier, Defects, WeakIntegration
from pipeline_app.simulation.geometry import pick_stations
from pipeline_app.simulation.spec import TileSpec

FAULTY_FRACTION = 5 / 96
"""Of the antennas that give noise only, and of those that lose one polarisation: 5 of each at the full size."""
BURST_LEVELS = (2.0, 5.0, 20.0)
CARRIER_LEVEL = 2.0
WEAK_FACTOR = 0.01


def with_defects(spec: TileSpec, name: str) -> TileSpec:
    """Return a tile with the set of defects called `name`, one of `DEFECT_SETS`, scaled to the tile's shape."""
    return DEFECT_SETS[name](spec)


def _phases(rms_deg: float) -> Callable[[TileSpec], TileSpec]:
    def apply(spec: TileSpec) -> TileSpec:
        return dataclasses.replace(spec, gains=dataclasses.replace(spec.gains, drift_phase_deg=rms_deg))

    return apply


def _antennas(spec: TileSpec) -> TileSpec:
    """Noise only, and as many others with one polarisation dead: in turn without signal and without any data."""
    stations = [pad.number for pad in pick_stations(spec.n_antennas)]
    count = max(1, round(FAULTY_FRACTION * len(stations)))
    spread = stations[1 :: max(1, len(stations) // (2 * count))][: 2 * count]
    noise_only = [AntennaFault(station=station) for station in spread[::2]]
    one_hand = [
        AntennaFault(station=station, kind=("zero", "noise")[number % 2], polarization=("XX", "YY")[number % 2])
        for number, station in enumerate(spread[1::2])
    ]
    return dataclasses.replace(spec, defects=Defects(antennas=(*noise_only, *one_hand)))


def _interference(spec: TileSpec) -> TileSpec:
    """Bursts of one integration over one subband, two carriers, and an integration that is too weak."""
    n_times, subbands, n_channels = spec.n_times, spec.subbands, spec.channels_per_subband
    return dataclasses.replace(
        spec,
        defects=Defects(
            bursts=tuple(
                Burst(
                    time_index=(1 + 2 * number) * n_times // 8,
                    subband=subbands[(number + 1) * len(subbands) // 4],
                    noise_multiple=level,
                )
                for number, level in enumerate(BURST_LEVELS)
            ),
            carriers=(
                Carrier(subband=subbands[0], channel=n_channels // 4, noise_multiple=CARRIER_LEVEL),
                Carrier(subband=subbands[-1], channel=n_channels - 1, noise_multiple=CARRIER_LEVEL),
            ),
            weak=(WeakIntegration(time_index=n_times - 1, factor=WEAK_FACTOR),),
        ),
    )


DEFECT_SETS: dict[str, Callable[[TileSpec], TileSpec]] = {
    "phases-10": _phases(10.0),
    "phases-20": _phases(20.0),
    "antennas": _antennas,
    "interference": _interference,
}
