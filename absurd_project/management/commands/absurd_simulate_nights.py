"""`manage.py absurd_simulate_nights DIR`: a few simulated nights through the real stages, to fill the console."""

from __future__ import annotations

import signal
import sys
import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from absurd_project.local import servers
from absurd_project.processing.progress import display_for
from absurd_project.processing.serving import NotServed, Serving, make_ready
from absurd_project.processing.session import Session
from pipeline_app.ingest.register import ingest_directory
from pipeline_app.stages.photometry import Position
from pipeline_app.workflows import Options
from tasks_app.management.output import PrintingCommand

FAILED, USAGE = 1, 2
IMAGING = {"field_deg": 3.2, "cell_arcsec": 8.0}
"""The injected sources lie within 1.6 degrees of the pointing."""


class Command(PrintingCommand):
    """Simulates nights with faults and processes them; what fails is meant to."""

    help = (
        "Simulate nights of one strip into DIR (a calibrator's tile and two targets each), and run the pipeline on "
        "them through queue and workers. One source varies; a calibration is refused, a tile lacks a subband, another "
        "has no signal: tasks fail on purpose, for the console to show. Exit codes: 0 processed, 1 failed, 2 usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR")
        parser.add_argument("--nights", type=int, default=4, metavar="N", help="default: %(default)s")
        parser.add_argument(
            "--size",
            choices=("tiny", "demo"),
            default="tiny",
            help="tiny: 12 antennas, 16 channels; demo: 28, 64. Default: %(default)s",
        )

    def handle(self, *args: Any, directory: Path, nights: int, size: str, **options: Any) -> None:
        if not 1 <= nights <= 30:
            raise CommandError(f"--nights must be between 1 and 30 (got {nights})", returncode=USAGE)
        if directory.exists() and any(directory.iterdir()):
            raise CommandError(f"{directory} is not empty: choose another directory", returncode=USAGE)
        self.stop_requested = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop_requested.set())
        try:
            make_ready(self.stdout)
            self._process(directory, nights, size)
        except NotServed as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault
        finally:
            connection.close()
            servers.stop_started(settings.ABSURD_VAR)

    def _process(self, directory: Path, n_nights: int, size: str) -> None:
        # Here, because the simulation loads pyuvdata, which takes seconds.
        from pipeline_app.simulation import simulate_tile
        from pipeline_app.simulation.presets import SIZES, nights, processing_for

        started = time.monotonic()
        made = nights(timezone.now(), SIZES[size], n_nights)
        known = {source.name: source for tile in made[0] for source in tile.sources}
        catalog = tuple(
            Position(name=source.name, ra_deg=source.ra_deg, dec_deg=source.dec_deg, flux_jy=source.flux_jy)
            for source in known.values()
        )
        processing = processing_for(SIZES[size])
        chosen = Options(catalog=catalog, stage_params=processing | {"imaging": processing["imaging"] | IMAGING})
        queue_name = settings.ABSURD_QUEUE_NAME
        with Serving(queue_name, var=settings.ABSURD_VAR) as serving:
            for index, tiles in enumerate(made):
                if self.stop_requested.is_set():
                    raise CommandError("interrupted", returncode=FAILED)
                place = directory / f"night-{index + 1}"
                for tile in tiles:
                    simulate_tile(place, tile)
                session = Session(found=ingest_directory(place), display=display_for(sys.stdout), actor="cli:simulated")
                session.spawn(chosen)
                session.wait(serving.poll, interrupted=self.stop_requested.is_set, limit_sec=None)
                session.display.stop()
        self.stdout.write(f"{n_nights} nights in {time.monotonic() - started:.0f} s")
