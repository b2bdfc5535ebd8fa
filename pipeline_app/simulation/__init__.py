"""Raw DSA-110 tiles with known truth, as the correlator writes them."""

from __future__ import annotations

from pipeline_app.simulation.presets import DEMO, TINY, hour_tiles, tile_pair
from pipeline_app.simulation.spec import (
    AntennaFault,
    Burst,
    Carrier,
    Defects,
    FieldSpec,
    GainSpec,
    LostSamples,
    RollOff,
    SmearingSpec,
    Source,
    TileSpec,
    WeakIntegration,
)
from pipeline_app.simulation.tile import simulate_tile
from pipeline_app.simulation.truth import TileTruth

__all__ = [
    "DEMO",
    "TINY",
    "AntennaFault",
    "Burst",
    "Carrier",
    "Defects",
    "FieldSpec",
    "GainSpec",
    "LostSamples",
    "RollOff",
    "SmearingSpec",
    "Source",
    "TileSpec",
    "TileTruth",
    "WeakIntegration",
    "hour_tiles",
    "simulate_tile",
    "tile_pair",
]
