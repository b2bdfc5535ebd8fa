"""`manage.py absurd_demo`: see the whole system work on simulated raw data, judged against the truth."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.utils import timezone

from absurd_project import accounts
from absurd_project.demo import DemoTile, NothingToJudge, choose_specs, deliver, judge, print_judgement, simulate
from absurd_project.local import servers
from absurd_project.processing import report
from absurd_project.processing.progress import display_for
from absurd_project.processing.serving import NotServed, System, make_ready, running_system
from absurd_project.processing.session import POLL_SEC, Session
from pipeline_app.ingest.register import Ingested, tile_of
from pipeline_app.models import Observation
from tasks_app.management.output import PrintingCommand, write_line
from tasks_app.models import Run

FAILED = 1
INGEST_SEC = 60.0


class DemoFailed(Exception):
    """The demo cannot continue; the message says why."""


class Command(PrintingCommand):
    """Simulates two tiles and sends them through web, queue, workers and ingest."""

    help = (
        "Simulate a calibrator's and a target's raw tile at reduced size, drop the files into the incoming directory "
        "of the running system (started if none runs), show progress, and compare "
        "fluxes, positions and gains with what was injected. Exit codes: 0 within the limits, 1 not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", nargs="?", const="-", type=Path, metavar="PATH",
            help="write the result as JSON; without PATH to standard output",
        )  # fmt: skip
        parser.add_argument("--keep", action="store_true", help="keep the system running afterwards, until Ctrl-C")
        parser.add_argument("--seed", type=int, metavar="N", help="other noise and gains")
        parser.add_argument("--timeout", type=float, default=900.0, metavar="SEC", help="default: %(default)g")

    def handle(self, *args: Any, **options: Any) -> None:
        self.started_at = time.monotonic()
        self.json_place: Path | None = options["json"]
        self.to_screen: TextIO = sys.stderr if str(self.json_place) == "-" else sys.stdout
        self.stop_requested = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop_requested.set())
        try:
            make_ready(self.stdout if self.to_screen is sys.stdout else self.stderr)
            passed = self._run(options)
        except (NotServed, DemoFailed, NothingToJudge) as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault
        finally:
            connection.close()
            servers.stop_started(settings.ABSURD_VAR)
        if not passed:
            sys.exit(FAILED)

    def _run(self, options: dict[str, Any]) -> bool:
        var: Path = settings.ABSURD_VAR
        self._print("simulating two raw tiles of 16 subbands")
        tiles = simulate(choose_specs(timezone.now(), options["seed"]), var / "demo")
        with running_system(var, settings.ABSURD_PORT) as system:
            self._print(f"the system runs: http://127.0.0.1:{system.port}/admin/")
            session = Session(found=Ingested(), display=display_for(self.to_screen), actor="cli:demo")
            try:
                self._deliver(tiles, system, session)
                session.wait(system.poll, interrupted=self.stop_requested.is_set, limit_sec=options["timeout"])
            finally:
                session.display.stop()
            if session.trouble:
                raise DemoFailed(session.trouble)
            passed = self._conclude(tiles, system, session)
            if options["keep"]:
                self._keep(system)
        return passed

    def _deliver(self, tiles: list[DemoTile], system: System, session: Session) -> None:
        """Deliver the tiles and wait until the ingest has started a run for each. Raises DemoFailed."""
        for tile in tiles:
            place = deliver(tile, system.incoming)
            session.display.print(f"{tile.spec.kind} tile {tile.name}: {len(tile.truth.files)} files in {place}")
        observations = Observation.objects.filter(name__in=[tile.name for tile in tiles]).order_by("start_mjd")
        deadline = time.monotonic() + INGEST_SEC
        while observations.filter(run_id__isnull=False).count() < len(tiles):
            system.poll()
            if self.stop_requested.wait(POLL_SEC):
                raise DemoFailed("interrupted")
            if time.monotonic() > deadline:
                states = "; ".join(f"{each.name}: {each.state} {each.reason}" for each in observations)
                raise DemoFailed(f"the ingest has not started both tiles ({states or 'none seen'})")
        session.found.tiles = [tile_of(observation) for observation in observations]
        session.follow(list(Run.objects.filter(run_id__in=observations.values("run_id")).order_by("id")))

    def _conclude(self, tiles: list[DemoTile], system: System, session: Session) -> bool:
        """Judge, print and write the result; return whether it is within the limits. Raises NothingToJudge."""
        ok = session.ok(tasks_only=True)
        made = report.build(session.runs, session.found, directory=system.incoming, ok=ok)
        calibrator, target = tiles
        judgement = made["judgement"] = judge(calibrator, target, session.tasks())
        made["duration_sec"] = time.monotonic() - self.started_at
        report.write_json(made, self.json_place, self.stdout)
        report.print_report(made, self.to_screen)
        print_judgement(judgement, self.to_screen)
        var = settings.ABSURD_VAR
        self._print(
            f"console        http://127.0.0.1:{system.port}/admin/ (user {accounts.OPERATOR}, password in "
            f"{accounts.password_file(var)})"
        )
        if system.stack is not None:
            self._print("               run make up to start it again after the demo")
        verdict = "passed" if judgement["passed"] else "FAILED"
        self._print(f"demo {verdict} in {made['duration_sec']:.0f} s")
        return bool(judgement["passed"])

    def _keep(self, system: System) -> None:
        if system.stack is None:
            self._print("the system keeps running: it ran before the demo")
            return
        self._print("the system keeps running; Ctrl-C stops it")
        system.stack.run(self.stop_requested)

    def _print(self, line: str) -> None:
        write_line(self.to_screen, line)
