"""`manage.py absurd_ingest`: find raw files, group them into tiles, start their runs."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error, connection
from django.utils import timezone

from pipeline_app.calibration_choice import plan_set
from pipeline_app.catalogs import read_catalog
from pipeline_app.ingest.register import ingest_directory, release
from pipeline_app.ingest.watch import QUIET_SEC, Watcher, WatchOptions
from pipeline_app.models import Observation
from pipeline_app.workflows import Options, start
from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import AbsurdError
from tasks_app.management.output import PrintingCommand
from tasks_app.management.shell import FAILED, ILLEGAL_STATE, NOT_FOUND, USAGE, actor
from tasks_app.postgresql import outages

log = logging.getLogger(__name__)
RETRY_SEC = 5.0
"""How long to wait before trying again when the database is away."""


class Command(PrintingCommand):
    """Ingests a directory once, or watches it."""

    help = (
        "Register the raw UVH5 files under DIR, group them into tiles and start the workflow for each. Without --watch "
        "DIR is taken as complete. With --watch it is read until stopped: a tile starts when all its subbands are "
        "present; catalog.csv and processing.json beside the files, or above them within DIR, give the positions to "
        "measure and the params by task name. Exit codes: 0 ok, 1 failed, 2 usage, 3 no such observation, 4 it is not "
        "incomplete."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", nargs="?", type=Path, metavar="DIR")
        parser.add_argument("--watch", action="store_true", help="keep reading DIR until stopped")
        parser.add_argument("--poll-interval", type=float, default=1.0, metavar="SEC")
        parser.add_argument(
            "--quiet-sec",
            type=float,
            default=QUIET_SEC,
            help="a tile with subbands missing is closed after this long without a new file (default: %(default)s)",
        )
        parser.add_argument("--queue-name", help="queue for the tasks (default: ABSURD_QUEUE_NAME)")
        parser.add_argument("--catalog", type=Path, help="CSV of positions to measure; not with --watch")
        parser.add_argument(
            "--release", metavar="NAME", help="start an incomplete observation with the subbands that it has"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["release"]:
            self._release(options["release"])
            return
        directory: Path | None = options["directory"]
        if directory is None or not directory.is_dir():
            raise CommandError(f"{directory or 'DIR'} is not a directory", returncode=USAGE)
        if options["watch"] and options["catalog"]:
            raise CommandError("with --watch the catalogue is catalog.csv beside the files", returncode=USAGE)
        if options["watch"]:
            self._watch(directory, options)
        else:
            self._once(directory, options)

    def _release(self, name: str) -> None:
        found = Observation.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"there is no observation {name!r}", returncode=NOT_FOUND)
        if not release(found):
            raise CommandError(f"{name} is not incomplete but {found.state}", returncode=ILLEGAL_STATE)
        self.stdout.write(f"{name} is released; the watching ingest starts it")

    def _once(self, directory: Path, options: dict[str, Any]) -> None:
        try:
            catalog = tuple(read_catalog(options["catalog"])) if options["catalog"] else None
        except InvalidInput as fault:
            raise CommandError(str(fault), returncode=USAGE) from fault
        found = ingest_directory(directory)
        for problem in found.problems:
            self.stderr.write(f"{problem.path}: {problem.problem}")
        if not found.tiles:
            raise CommandError(f"no usable UVH5 file under {directory}", returncode=USAGE)
        chosen = Options(catalog=catalog, queue_name=options["queue_name"])
        try:
            runs = start(plan_set(found.tiles), chosen, actor=actor())
        except AbsurdError as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault
        for run in runs:
            self.stdout.write(f"{run.label}: run {run.run_id} started")

    def _watch(self, directory: Path, options: dict[str, Any]) -> None:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        watcher = Watcher(
            directory=directory,
            options=WatchOptions(quiet_sec=options["quiet_sec"], queue_name=options["queue_name"], actor=actor()),
            report=lambda line: self.stdout.write(f"{timezone.now():%H:%M:%S} {line}"),
        )
        self.stdout.write(f"watching {directory.resolve()}")
        loaded = False
        while not stop.is_set():
            pause_sec = options["poll_interval"]
            try:
                if not loaded:
                    watcher.load_known()
                    loaded = True
                watcher.scan_once()
            except Error as fault:
                self.stderr.write(f"{outages.describe(fault)}; retrying")
                connection.close()
                pause_sec = RETRY_SEC
            # An error in one scan must not end the watch: nothing else would start tiles.
            except Exception as fault:
                self.stderr.write(f"could not read the directory, retrying: {type(fault).__name__}: {fault}")
                log.exception("the ingest could not read %s", directory)
                pause_sec = RETRY_SEC
            stop.wait(pause_sec)
