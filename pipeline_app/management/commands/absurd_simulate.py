"""`manage.py absurd_simulate DIR`: raw tiles with known truth, to try the pipeline on."""

from __future__ import annotations

import csv
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from tasks_app.management.output import PrintingCommand

if TYPE_CHECKING:
    from pipeline_app.simulation import TileTruth

USAGE = 2


class Command(PrintingCommand):
    """Simulate the calibrator's and the target's tile of the last pass of 0834+555."""

    help = (
        "Writes the raw subband files of a calibrator tile and a target tile (--hour: 12 consecutive targets) into "
        "DIR, as the correlator would have, their truth beside them (NAME_truth.json and NAME_gains.npz, with all that "
        "was asked for), and DIR/catalog.csv with the targets' sources. Integrations, subbands and channels are "
        "numbered from 0; antennas by station. Exit codes: 0 written, 2 usage."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        from pipeline_app.simulation.options import add_defect_options, add_sky_options

        parser.add_argument("directory", type=Path, metavar="DIR")
        add_sky_options(parser)
        add_defect_options(parser)

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        from pipeline_app.simulation import simulate_tile
        from pipeline_app.simulation.options import specs_of

        if directory.exists() and any(directory.glob("*.hdf5")):
            raise CommandError(f"{directory} holds raw files already: choose an empty directory", returncode=USAGE)
        started = time.monotonic()
        try:
            truths = [simulate_tile(directory, spec) for spec in specs_of(options)]
        except ValueError as fault:
            raise CommandError(str(fault), returncode=USAGE) from fault
        for truth in truths:
            self.stdout.write(f"{truth.kind:<11} {truth.name}  {len(truth.files)} files, {len(truth.sources)} sources")
        write_catalog(directory / "catalog.csv", truths[1:])
        self.stdout.write(f"{directory} written in {time.monotonic() - started:.1f} s")


def write_catalog(path: Path, truths: Sequence[TileTruth]) -> None:
    """Write the sources of some tiles, each once, in the columns that `absurd_process --catalog` reads."""
    sources = {source.name: source for truth in truths for source in truth.sources}
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "ra_deg", "dec_deg", "flux_jy"])
        rows.writerows([s.name, f"{s.ra_deg:.7f}", f"{s.dec_deg:.7f}", s.flux_jy] for s in sources.values())
