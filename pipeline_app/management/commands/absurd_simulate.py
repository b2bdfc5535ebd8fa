"""`manage.py absurd_simulate DIR`: raw tiles with known truth, to try the pipeline on."""

from __future__ import annotations

import csv
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from pipeline_app.simulation import TileTruth


class Command(BaseCommand):
    """Simulate the calibrator's and the target's tile of the last pass of 0834+555."""

    help = (
        "Writes the raw subband files of a calibrator tile and a target tile into DIR, as the correlator would have, "
        "their truth beside them, and DIR/catalog.csv with the target's sources."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR")
        parser.add_argument(
            "--size",
            choices=("tiny", "demo", "full"),
            default="demo",
            help="tiny: 12 antennas, 16 channels; demo: 28, 64; full: 96, 768 (4.6 GB). Default: %(default)s",
        )
        parser.add_argument(
            "--before", type=_instant, default=None, metavar="TIME", help="simulate the last pass before this UTC time"
        )

    def handle(self, *args: Any, directory: Path, size: str, before: datetime | None, **options: Any) -> None:
        from pipeline_app import simulation

        presets = {"tiny": simulation.tiny_tiles, "demo": simulation.demo_tiles, "full": simulation.full_tiles}
        if directory.exists() and any(directory.glob("*.hdf5")):
            raise CommandError(f"{directory} holds raw files already: choose an empty directory", returncode=2)
        started = time.monotonic()
        truths = [simulation.simulate_tile(directory, spec) for spec in presets[size](before or datetime.now(UTC))]
        for truth in truths:
            self.stdout.write(f"{truth.kind:<11} {truth.name}  {len(truth.files)} files, {len(truth.sources)} sources")
        write_catalog(directory / "catalog.csv", truths[-1])
        self.stdout.write(f"{directory} written in {time.monotonic() - started:.1f} s")


def write_catalog(path: Path, truth: TileTruth) -> None:
    """Write the sources of a tile in the columns that `absurd_process --catalog` reads."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "ra_deg", "dec_deg", "flux_jy"])
        rows.writerows([s.name, f"{s.ra_deg:.7f}", f"{s.dec_deg:.7f}", s.flux_jy] for s in truth.sources)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
