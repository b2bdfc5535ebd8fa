"""Raw tiles for the demo: simulated out of the pipeline's sight, then delivered as the correlator delivers."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline_app.ingest.watch import CATALOG_NAME, PROCESSING_NAME
from pipeline_app.models import Observation
from pipeline_app.simulation import DEMO, TileSpec, TileTruth, simulate_tile, tile_pair
from pipeline_app.simulation.presets import UNSMEARED_PROCESSING
from pipeline_app.telescope import SIDEREAL_RATE_DEG_PER_SEC

SIDEREAL_DAY = timedelta(seconds=360.0 / SIDEREAL_RATE_DEG_PER_SEC)
PROCESSING = UNSMEARED_PROCESSING | {
    "imaging": UNSMEARED_PROCESSING["imaging"] | {"field_deg": 2.2, "cell_arcsec": 6.0}
}
"""The injected sources lie within a degree of the pointing, and 6 arcsec still put six pixels across the beam."""
BETWEEN_FILES_SEC = 0.02


@dataclass(frozen=True, kw_only=True)
class DemoTile:
    """A simulated tile: its truth and where its files wait for delivery."""

    spec: TileSpec
    truth: TileTruth
    directory: Path

    @property
    def name(self) -> str:
        """Name of the observation."""
        return self.truth.name


def choose_specs(now: datetime, seed: int | None) -> list[TileSpec]:
    """Return the specs of the calibrator's and the target's tile, at times that no earlier observation has.

    Each demo goes a sidereal day further back, so that the sky is the same and nothing collides.
    """
    while True:
        specs = tile_pair(now, DEMO)
        if not any(_is_taken(spec) for spec in specs):
            return [_reseeded(spec, seed) for spec in specs]
        now -= SIDEREAL_DAY


def _is_taken(spec: TileSpec) -> bool:
    start_ms = round(spec.start_time.timestamp() * 1000)
    length_ms = round(spec.duration_sec * 1000)
    return Observation.objects.filter(first_time_ms__range=(start_ms - length_ms, start_ms + length_ms)).exists()


def _reseeded(spec: TileSpec, seed: int | None) -> TileSpec:
    """Give noise and gains another seed; both tiles go on sharing their gains."""
    if seed is None:
        return spec
    gains = dataclasses.replace(spec.gains, seed=spec.gains.seed + 1000 * (seed + 1))
    return dataclasses.replace(spec, seed=spec.seed + 1000 * (seed + 1), gains=gains)


def simulate(specs: Sequence[TileSpec], directory: Path) -> list[DemoTile]:
    """Write the raw files and the truth of each tile into a directory of its own below `directory`."""
    tiles = []
    for spec in specs:
        place = directory / f"{spec.name}-{spec.kind}"
        tiles.append(DemoTile(spec=spec, truth=simulate_tile(place, spec), directory=place))
    return tiles


def deliver(
    tile: DemoTile, incoming: Path, *, processing: Mapping[str, Any] = PROCESSING, with_fluxes: bool = False
) -> Path:
    """Let the raw files appear under `incoming` as the correlator writes them, and return their directory.

    The truth stays behind; of it only names and positions go along, and the fluxes if asked for, as the catalogue of
    where to measure. `processing` has params by task name.
    """
    place = incoming / f"demo-{tile.name}"
    place.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{source.name},{source.ra_deg:.7f},{source.dec_deg:.7f},{source.flux_jy if with_fluxes else ''}"
        for source in tile.truth.sources
    ]
    (place / CATALOG_NAME).write_text("\n".join(["name,ra_deg,dec_deg,flux_jy", *lines, ""]))
    (place / PROCESSING_NAME).write_text(json.dumps(processing))
    for name in tile.truth.files:
        final = place / name
        unfinished = final.with_name(f"{final.stem}_incomplete{final.suffix}")
        (tile.directory / name).rename(unfinished)
        unfinished.rename(final)
        time.sleep(BETWEEN_FILES_SEC)
    return place
