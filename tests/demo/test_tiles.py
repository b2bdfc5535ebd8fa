from __future__ import annotations

import csv
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from absurd_project.demo import DemoTile, choose_specs, deliver, simulate
from pipeline_app.ingest.register import ingest_directory
from pipeline_app.ingest.watch import Watcher, WatchOptions
from pipeline_app.simulation import TINY, tile_pair
from tasks_app.models import Run

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture
def tiles(tmp_path) -> list[DemoTile]:
    specs = tile_pair(NOW, dataclasses.replace(TINY, n_antennas=2, n_times=2))
    return simulate(specs, tmp_path / "demo")


def files_below(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_delivered_files_come_without_the_truth_and_without_its_fluxes(tiles, tmp_path):
    calibrator, target = tiles
    place = deliver(target, tmp_path / "incoming")
    assert files_below(tmp_path / "incoming") == {*target.truth.files, "catalog.csv", "processing.json"}
    with (place / "catalog.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == [source.name for source in target.truth.sources]
    assert {row["flux_jy"] for row in rows} == {""}
    assert float(rows[0]["ra_deg"]) == pytest.approx(target.truth.sources[0].ra_deg, abs=1e-6)
    assert (target.directory / f"{target.name}_truth.json").exists()
    assert not any(target.name in path.name for path in calibrator.directory.iterdir())


def test_the_watching_ingest_takes_both_tiles_with_their_catalogues(tiles, tmp_path):
    incoming = tmp_path / "incoming"
    for tile in tiles:
        deliver(tile, incoming)
    watch = Watcher(directory=incoming, options=WatchOptions(), report=lambda line: None)
    assert watch.scan_once() + watch.scan_once() == 2
    for run, tile in zip(Run.objects.order_by("id"), tiles, strict=True):
        assert (run.label, run.params["role"]) == (tile.name, tile.spec.kind)
        positions = run.tasks.get(stage="photometry").params["positions"]
        assert [position["name"] for position in positions] == [source.name for source in tile.truth.sources]
        assert (
            run.tasks.get(stage="imaging").params["field_deg"]
            == json.loads((incoming / f"demo-{tile.name}" / "processing.json").read_text())["imaging"]["field_deg"]
        )


def test_a_second_demo_gets_times_of_its_own_under_the_same_sky(tiles, tmp_path):
    first = choose_specs(NOW, None)
    ingest_directory(deliver(tiles[0], tmp_path / "incoming"))
    second = choose_specs(NOW, None)
    assert tiles[0].spec.start_time == first[0].start_time
    moved = first[0].start_time - second[0].start_time
    assert timedelta(hours=23.9) < moved < timedelta(hours=24)
    assert second[1].start_time - second[0].start_time == first[1].start_time - first[0].start_time
    for before, after in zip(first[1].sources, second[1].sources, strict=True):
        assert after.ra_deg == pytest.approx(before.ra_deg, abs=0.1)


def test_a_seed_changes_noise_and_gains_of_both_tiles_alike():
    (plain, _), (calibrator, target) = choose_specs(NOW, None), choose_specs(NOW, 3)
    assert calibrator.gains.seed == target.gains.seed != plain.gains.seed
    assert calibrator.seed != plain.seed
