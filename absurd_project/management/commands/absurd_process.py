"""`manage.py absurd_process DIR`: raw files in, measured fluxes out."""

from __future__ import annotations

import getpass
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from absurd_project.local import servers
from absurd_project.processing import report
from absurd_project.processing.progress import display_for
from absurd_project.processing.serving import NotServed, Serving, make_ready
from absurd_project.processing.session import Session
from pipeline_app.catalogs import read_catalog
from pipeline_app.ingest.register import Ingested, ingest_directory
from pipeline_app.ingest.watch import check_stage_params
from pipeline_app.workflows import Options
from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import AbsurdError, ParamsInvalid
from tasks_app.management.output import PrintingCommand, write_line

FAILED, USAGE = 1, 2
log = logging.getLogger(__name__)


class Command(PrintingCommand):
    """Processes a directory of raw files from beginning to end."""

    help = (
        "Register the raw UVH5 files under DIR (taken as complete, any names), run the workflow on each tile through "
        "queue and workers, show progress, print the results. A worker is started when none serves the queue. Ctrl-C "
        "cancels what has not finished. Exit codes: 0 every task completed and no verdict is fail, 1 otherwise (with "
        "--tasks-only: not every task completed), 2 usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR")
        parser.add_argument(
            "--catalog", type=Path, metavar="CSV", help="where to measure: name, ra_deg, dec_deg, flux_jy"
        )
        parser.add_argument("--json", type=Path, metavar="PATH", help="write the report here; - is standard output")
        parser.add_argument("--queue-name", default=settings.ABSURD_QUEUE_NAME, help="default: %(default)s")
        parser.add_argument("--timeout", type=float, metavar="SEC", help="cancel unfinished tasks after this time")
        parser.add_argument(
            "--tasks-only", action="store_true", help="exit 0 when every task completed, whatever their verdicts"
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="TASK.PARAM=VALUE",
            help="another value for a param of a stage, such as imaging.niter=500; the value is JSON or plain text",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.json_path: Path | None = options["json"]
        self.directory: Path = options["directory"]
        self.tasks_only: bool = options["tasks_only"]
        self.to_screen = sys.stderr if str(self.json_path) == "-" else sys.stdout
        try:
            self._check_places()
            self._process(self._read_options(options), options["timeout"])
        finally:
            connection.close()
            servers.stop_started(settings.ABSURD_VAR)

    def _check_places(self) -> None:
        if not self.directory.is_dir():
            raise CommandError(f"{self.directory} is not a directory", returncode=USAGE)
        if not os.access(self.directory, os.R_OK | os.X_OK):
            raise CommandError(f"{self.directory} cannot be read", returncode=USAGE)
        if not report.is_writable(self.json_path):
            raise CommandError(f"{self.json_path} cannot be written", returncode=USAGE)

    def _read_options(self, options: dict[str, Any]) -> Options:
        try:
            catalog = tuple(read_catalog(options["catalog"])) if options["catalog"] else None
            stage_params = read_settings(options["set"])
        except InvalidInput as fault:
            raise CommandError(str(fault), returncode=USAGE) from fault
        return Options(catalog=catalog, stage_params=stage_params, queue_name=options["queue_name"])

    def _process(self, chosen: Options, limit_sec: float | None) -> None:
        try:
            make_ready(self.stdout)
        except NotServed as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault
        found = ingest_directory(self.directory)
        if not found.tiles:
            self._give_up(found, f"no usable UVH5 file under {self.directory}{_why(found)}", USAGE)
        session = Session(found=found, display=display_for(self.to_screen), actor=_actor())
        for tile in found.tiles:
            session.display.print(f"{tile.observation.name}: {tile.n_subbands} subbands")
        try:
            session.spawn(chosen)
        except ParamsInvalid as fault:
            self._give_up(found, str(fault), USAGE)
        except AbsurdError as fault:
            self._give_up(found, str(fault), FAILED)
        self._follow(session, chosen.queue_name or settings.ABSURD_QUEUE_NAME, limit_sec)
        self._conclude(session)

    def _follow(self, session: Session, queue_name: str, limit_sec: float | None) -> None:
        stop_requested = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: stop_requested.set()) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            with Serving(queue_name, var=settings.ABSURD_VAR) as serving:
                if serving.is_own:
                    session.display.print(f"no worker serves {queue_name}: started one, log in {serving.log}")
                session.warn_of_pause(queue_name)
                session.wait(serving.poll, interrupted=stop_requested.is_set, limit_sec=limit_sec)
        except NotServed as fault:
            session.trouble = str(fault)
            session.cancel_unfinished()
        # What has been measured until then is reported all the same.
        except Exception as fault:
            log.exception("could not follow the runs")
            session.trouble = f"could not follow the runs: {type(fault).__name__}: {fault}"
        finally:
            session.display.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _conclude(self, session: Session) -> None:
        ok = session.ok(tasks_only=self.tasks_only)
        made = report.build(
            session.runs, session.found, directory=self.directory.resolve(), ok=ok, trouble=session.trouble
        )
        # The report first: whatever the screen makes of the tables, an hour's work is written down.
        self._write(made)
        report.print_report(made, self.to_screen)
        if not ok:
            sys.exit(FAILED)

    def _give_up(self, found: Ingested, trouble: str, code: int) -> NoReturn:
        self._write(report.build([], found, directory=self.directory.resolve(), ok=False, trouble=trouble))
        raise CommandError(trouble, returncode=code)

    def _write(self, made: dict[str, Any]) -> None:
        report.write_json(made, self.json_path, self.stdout)
        if self.json_path is not None and str(self.json_path) != "-":
            write_line(self.to_screen, f"report in {self.json_path}")


def read_settings(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """Read `task.param=value` pairs into params by task name.

    Raises InvalidInput for another form or an unknown task.
    """
    read: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        task_name, dot, param = name.partition(".")
        if not (equals and dot and task_name and param):
            raise InvalidInput(f"--set {pair}: write TASK.PARAM=VALUE")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        read.setdefault(task_name, {})[param] = value
    return check_stage_params(read, "--set")


def _why(found: Ingested) -> str:
    if not found.problems:
        return ""
    first = found.problems[0]
    more = f" and {len(found.problems) - 1} more" if len(found.problems) > 1 else ""
    return f": {first.path}: {first.problem}{more}"


def _actor() -> str:
    return f"cli:{getpass.getuser()}@{socket.gethostname()}"
