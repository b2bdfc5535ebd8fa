"""Raw tiles for the demo: simulated out of the pipeline's sight, then delivered as the correlator delivers.

The results are compared with what was injected; every number is computed from the products.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline_app.ingest.watch import CATALOG_NAME, PROCESSING_NAME
from pipeline_app.models import Measurement as MeasurementRow
from pipeline_app.models import Observation
from pipeline_app.registration import IMAGING, PHOTOMETRY, SELF_CALIBRATION, SOLVE
from pipeline_app.simulation import DEMO, TileSpec, TileTruth, simulate_tile, tile_pair
from pipeline_app.simulation.judgement import FluxJudgement, judge_fluxes, judge_gains
from pipeline_app.simulation.presets import UNSMEARED_PROCESSING
from pipeline_app.stages.photometry import Measurement
from pipeline_app.telescope import SIDEREAL_RATE_DEG_PER_SEC
from tasks_app.management.printing import SafeConsole
from tasks_app.models import Task

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


OF_FLUXES = ("n_bright", "fraction_within", "ratio_median", "offset_median_arcsec", "offset_max_arcsec")
OF_GAINS = ("amplitude_rms", "amplitude_median", "phase_rms_deg", "flagged_fraction", "n_antennas")
OF_IMAGE = (
    "image_path", "preview_path", "rms_jy", "thermal_rms_jy", "peak_jy", "dynamic_range",
    "beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg", "imsize_pix", "cell_arcsec",
)  # fmt: skip


class NothingToJudge(Exception):
    """A stage without which there is no judgement has not completed."""


def judge(calibrator: DemoTile, target: DemoTile, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the judgement of a demo as a document: sources, image, gains, checks, and whether all passed.

    Raises NothingToJudge.
    """
    imaging = image_of(tasks, target)
    fluxes = judge_tile(tasks, target)
    gains = judge_gains(_result(tasks, calibrator, SOLVE)["calibration_path"], calibrator.truth)
    checks = [*fluxes.checks, *gains.checks]
    return {
        "passed": all(check.passed for check in checks),
        "checks": [_plain(asdict(check)) for check in checks],
        "sources": [_plain(asdict(source) | {"bright": source.bright}) for source in fluxes.sources],
        "fluxes": _plain({name: getattr(fluxes, name) for name in OF_FLUXES}),
        "image": {name: imaging[name] for name in OF_IMAGE},
        "gains": _plain({name: getattr(gains, name) for name in OF_GAINS}),
    }


def judge_tile(tasks: Sequence[Task], tile: DemoTile) -> FluxJudgement:
    """Compare the fluxes of a tile, as recorded in the database, with the injected ones. Raises NothingToJudge."""
    names = [name for name in Measurement.model_fields if name != "verdict"]
    measured = [
        Measurement(**{name: getattr(row, name) for name in names}, verdict=row.verdict or None)
        for row in MeasurementRow.objects.filter(task_id=_task(tasks, tile, PHOTOMETRY).task_id)
    ]
    beam_arcsec = image_of(tasks, tile)["beam_minor_arcsec"]
    return judge_fluxes(measured, tile.truth.sources, beam_minor_arcsec=beam_arcsec)


def image_of(tasks: Sequence[Task], tile: DemoTile) -> dict[str, Any]:
    """Return the result of imaging that a target was measured in: the second image's where there is one.

    Raises NothingToJudge.
    """
    image: dict[str, Any] = _result(tasks, tile, SELF_CALIBRATION)["second_image"] or _result(tasks, tile, IMAGING)
    return image


def _task(tasks: Sequence[Task], tile: DemoTile, stage: str) -> Task:
    found = next((t for t in tasks if t.run is not None and t.run.label == tile.name and t.stage == stage), None)
    if found is None or found.status != "completed":
        state = "was not spawned" if found is None else f"is {found.status}: {found.error or ''}"
        raise NothingToJudge(f"{stage} of {tile.name} {state}".strip())
    return found


def _result(tasks: Sequence[Task], tile: DemoTile, stage: str) -> dict[str, Any]:
    return dict(_task(tasks, tile, stage).result or {})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Replace what JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def print_judgement(judgement: dict[str, Any], stream: TextIO) -> None:
    """Print sources, image, gains and checks."""
    console = SafeConsole(stream)
    columns = ("source", "injected, mJy", "measured, mJy", "±", "ratio", "offset, ″", "")
    table = Table(*columns, box=box.SIMPLE, title="Target tile")
    for row in judgement["sources"]:
        measured = row["measured_jy"] is not None
        table.add_row(
            row["name"],
            f"{row['injected_jy'] * 1e3:.2f}",
            f"{row['measured_jy'] * 1e3:.2f}" if measured else "not measured",
            f"{row['error_jy'] * 1e3:.2f}" if measured else "",
            f"{row['ratio']:.3f}" if measured else "",
            "" if row["offset_arcsec"] is None else f"{row['offset_arcsec']:.2f}",
            _mark(row["within"]),
        )
    console.print(table)
    image, gains = judgement["image"], judgement["gains"]
    console.print(
        f"image    rms {image['rms_jy'] * 1e3:.2f} mJy, expected of the noise {image['thermal_rms_jy'] * 1e3:.2f} mJy; "
        f"peak {image['peak_jy'] * 1e3:.0f} mJy; beam {image['beam_major_arcsec']:.1f}″ × "
        f"{image['beam_minor_arcsec']:.1f}″",
    )
    console.print(
        f"gains    {gains['n_antennas']} antennas: amplitudes {gains['amplitude_rms']:.2%} rms and phases "
        f"{gains['phase_rms_deg']:.2f}° rms off the injected",
    )
    for check in judgement["checks"]:
        value = check["value"]
        shown = "none" if value is None else f"{value:.2%}" if "%" in check["limit"] else f"{value:.3f}"
        console.print(_mark(check["passed"]), f"{check['name']}: {shown} ({check['limit']})")


def _mark(good: bool) -> Text:
    return Text("✓", "green") if good else Text("✗", "red")
