"""Raw DSA-110 tiles with known truth, as the correlator writes them."""

from __future__ import annotations

from pipeline_app.simulation.presets import demo_tiles, full_tiles, tiny_tiles
from pipeline_app.simulation.spec import GainSpec, Source, TileSpec
from pipeline_app.simulation.tile import simulate_tile
from pipeline_app.simulation.truth import TileTruth

__all__ = ["GainSpec", "Source", "TileSpec", "TileTruth", "demo_tiles", "full_tiles", "simulate_tile", "tiny_tiles"]
