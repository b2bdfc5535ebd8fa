"""`manage.py absurd_demo`: see the whole system work on simulated raw data, judged against the truth."""

from __future__ import annotations

import json
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
from absurd_project.demo import printing
from absurd_project.demo.feed import FeedListener
from absurd_project.demo.show import DemoFailed, Show
from absurd_project.demo.system import System, SystemDoesNotStart, running_system
from absurd_project.demo.tiles import choose_specs, simulate
from absurd_project.demo.verdict import NothingToJudge, judge
from absurd_project.local import servers
from absurd_project.processing import report
from absurd_project.processing.progress import display_for
from absurd_project.processing.serving import NotReady, make_ready
from tasks_app.management.output import PrintingCommand, write_line

FAILED = 1
FEED_SEC = 30.0


class Command(PrintingCommand):
    """Simulates two tiles and sends them through web, queue, workers and ingest."""

    help = (
        "Simulate a calibrator's and a target's raw tile at reduced size, drop the files into the incoming directory "
        "of the running system (started if none runs), show progress from the live feed, and compare "
        "fluxes, positions and gains with what was injected. Exit codes: 0 within the limits, 1 not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", nargs="?", const="-", metavar="PATH", help="write the result as JSON; without PATH to stdout"
        )
        parser.add_argument("--keep", action="store_true", help="keep the system running afterwards, until Ctrl-C")
        parser.add_argument("--seed", type=int, metavar="N", help="other noise and gains")
        parser.add_argument("--timeout", type=float, default=900.0, metavar="SEC", help="default: %(default)g")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.json_place: str | None = options["json"]
        self.to_screen: TextIO = sys.stderr if self.json_place == "-" else sys.stdout
        self.asked_to_stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.asked_to_stop.set())
        try:
            make_ready(self.stdout if self.to_screen is sys.stdout else self.stderr)
            passed = self._show(options)
        except (NotReady, SystemDoesNotStart, DemoFailed, NothingToJudge, TimeoutError) as fault:
            raise CommandError(str(fault), returncode=FAILED) from fault
        finally:
            connection.close()
            servers.stop_started(settings.ABSURD_VAR)
        if not passed:
            sys.exit(FAILED)

    def _show(self, options: dict[str, Any]) -> bool:
        var: Path = settings.ABSURD_VAR
        self._say("simulating two raw tiles of 16 subbands")
        tiles = simulate(choose_specs(timezone.now(), options["seed"]), var / "demo")
        with running_system(var, settings.ABSURD_PORT) as system:
            self._say(f"the system runs: http://127.0.0.1:{system.port}/admin/")
            listener = FeedListener(system.port, accounts.api_key_file(var))
            listener.start(FEED_SEC)
            display = display_for(self.to_screen)
            show = Show(
                system=system,
                tiles=tiles,
                listener=listener,
                display=display,
                interrupted=self.asked_to_stop.is_set,
            )
            try:
                show.play(options["timeout"])
            finally:
                display.end()
                listener.stop()
            made = self._conclude(show)
            if options["keep"]:
                self._keep(system)
        return bool(made["judgement"]["passed"])

    def _conclude(self, show: Show) -> dict[str, Any]:
        tasks = show.tasks()
        ok = all(task.status == "completed" for task in tasks)
        made = report.build(show.runs, show.found, directory=show.system.incoming, ok=ok)
        calibrator, target = show.tiles
        made["judgement"] = judge(calibrator, target, tasks)
        made["duration_sec"] = time.monotonic() - self.began
        self._write(made)
        printing.print_stages(made["tasks"], self.to_screen)
        printing.print_judgement(made["judgement"], self.to_screen)
        printing.print_places(made["products"], self._places(show.system), self.to_screen)
        verdict = "passed" if made["judgement"]["passed"] else "FAILED"
        self._say(f"demo {verdict} in {made['duration_sec']:.0f} s")
        return made

    def _places(self, system: System) -> list[str]:
        var = settings.ABSURD_VAR
        lines = [
            f"console        http://127.0.0.1:{system.port}/admin/ (user {accounts.OPERATOR}, password in "
            f"{accounts.password_file(var)})"
        ]
        if system.stack is not None:
            lines.append("               run make up to start it again after the demo")
        return lines

    def _keep(self, system: System) -> None:
        if system.stack is None:
            self._say("the system keeps running: it ran before the demo")
            return
        self._say("the system keeps running; Ctrl-C stops it")
        system.stack.run(self.asked_to_stop)

    def _write(self, made: dict[str, Any]) -> None:
        if self.json_place == "-":
            self.stdout.write(json.dumps(made, indent=1))
        elif self.json_place is not None:
            report.write(Path(self.json_place), made)

    def _say(self, line: str) -> None:
        write_line(self.to_screen, line)
