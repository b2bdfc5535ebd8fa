"""`manage.py absurd_benchmark`: how fast the queue is here, beside what the same rows cost without it."""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from absurd_project.benchmark import feed, hour, large, load, pipeline, queue, report, stage, workers
from absurd_project.benchmark.measures import FULL, QUICK, Figures, Progress, Sizes
from absurd_project.benchmark.scratch import (
    PREFIX,
    DoesNotStart,
    NoScratchDatabase,
    Scratch,
    channel_prefix,
    scratch_database,
)
from absurd_project.local import servers
from absurd_project.processing.report import is_writable, write_json
from pipeline_app.simulation.presets import DEFECT_SETS, SIZES, TILES_OF_AN_HOUR
from tasks_app.engine import system_state
from tasks_app.management.output import PrintingCommand
from tasks_app.management.printing import SafeConsole
from workers.gameday.polling import TimedOut

if TYPE_CHECKING:
    from tests.benchmark.peers.session import Session

FAILED, USAGE = 1, 2
SOAK_SEC = 600
KEPT_NAME = re.compile("[a-z0-9_]{0,30}")
PARTS = ("throughput", "large", "churn", "pickup", "feed", "workers")


class Command(PrintingCommand):
    """Measures in a database of its own, made beside the connected one and dropped at the end."""

    help = (
        "Measure spawning, claiming, pickup, the feed and a large backlog, each compared with its limit, in a scratch "
        "database that is made beside the connected one and dropped at the end. Exit codes: 0 measured (targets may "
        "be missed), 1 not, 2 usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quick", action="store_true", help="smaller and less exact, in a minute or two")
        parser.add_argument("--soak", action="store_true", help=f"run the churn for {SOAK_SEC // 60} minutes")
        parser.add_argument(
            "--only", action="append", choices=[*PARTS, "console", "scale", "stage"], metavar="PART",
            help=f"measure only this ({', '.join(PARTS)}; console: its pages with a million tasks (checkout); "
            "scale: rates and costs by workers, rows and clients of the feed (checkout); "
            "stage: a CASA stage in a worker); may be given several times",
        )  # fmt: skip
        parser.add_argument(
            "--page", action="append", metavar="PART", default=[],
            help="with --only console: only pages whose name or address contains this; may be given several times",
        )  # fmt: skip
        parser.add_argument(
            "--keep", metavar="NAME", default="",
            help=f"work in the database {PREFIX}NAME, which stays: the console's rows are made by the first run only",
        )  # fmt: skip
        parser.add_argument(
            "--peers",
            action="store_true",
            help="measure other queues too (checkout, extra `bench`)",
        )
        parser.add_argument(
            "--peers-python", metavar="PATH", help="the interpreter that has them (default: this one); implies --peers"
        )
        parser.add_argument(
            "--pipeline", action="store_true",
            help="measure the stages of one calibrator tile and one target tile alone instead, against the truth and "
            "against plain calls of the libraries; simulates and removes its data (--size full: 15 GB)",
        )  # fmt: skip
        parser.add_argument(
            "--defects", action="append", choices=tuple(DEFECT_SETS), default=[], metavar="SET",
            help="with --pipeline: instead process a target's tile with these defects and report what they cost and "
            f"whether they were noticed (checkout; {', '.join(DEFECT_SETS)}); may be given several times",
        )  # fmt: skip
        parser.add_argument(
            "--hour", action="store_true",
            help="process a calibrator tile and consecutive target tiles, simulated beforehand, unattended by a system "
            "of its own (ingest, queue, workers) and report seconds by stage, the real-time factor and what was left "
            "over; removes its data (--size full: about 4 GB a tile)",
        )  # fmt: skip
        parser.add_argument(
            "--tiles", type=int, metavar="N",
            help=f"with --hour: number of target tiles, 1 to {TILES_OF_AN_HOUR} (default: all)",
        )  # fmt: skip
        parser.add_argument(
            "--size", choices=("tiny", "demo", "full"), default="full", help="of the tiles; default: %(default)s"
        )
        parser.add_argument("--in-place", type=Path, help=argparse.SUPPRESS)  # what --hour gives the process it starts
        parser.add_argument("--json", type=Path, metavar="PATH", help="write the results here; - is standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        place: Path | None = options["json"]
        self.console = SafeConsole(sys.stderr if str(place) == "-" else sys.stdout)
        _check(options)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        of_tiles = options["pipeline"] or options["hour"]
        try:
            document = self._measure_tiles(options) if of_tiles else self._measure_queue(options)
        except FAULTS as fault:
            raise CommandError(str(fault), returncode=FAILED) from None
        except KeyboardInterrupt:
            what = "its data are removed" if of_tiles else "the scratch database is gone"
            raise CommandError(f"interrupted; {what}", returncode=FAILED) from None
        finally:
            connection.close()
            servers.stop_started(settings.ABSURD_VAR)
        write_json(document, place, self.stdout)
        if place is not None and str(place) != "-":
            self.console.print(f"results in {place}", soft_wrap=True)

    def _measure_tiles(self, options: dict[str, Any]) -> dict[str, Any]:
        """Measure the stages of a pair alone, a target's tile with defects, or an hour."""
        size, chosen = options["size"], list(dict.fromkeys(options["defects"]))
        n_targets = options["tiles"] or TILES_OF_AN_HOUR
        if options["in_place"]:
            hour.process_hour(SIZES[size], n_targets, options["in_place"], self._show)
            return {}
        if options["hour"]:
            of_hour = hour.measure(size, n_targets, self._show)
            report.print_hour(of_hour, self.console)
            return of_hour.as_dict()
        if chosen:
            defects = _of_checkout("defects")
            with_defects = defects.measure(size, chosen, self._show)
            defects.print_defects(with_defects, self.console)
            return dict(with_defects.as_dict())
        of_pair = pipeline.measure(size, self._show)
        report.print_pipeline(of_pair, self.console)
        return of_pair.as_dict()

    def _show(self, line: str) -> None:
        self.console.print(line)

    def _measure_queue(self, options: dict[str, Any]) -> dict[str, Any]:
        """Measure the queue, the feed and the workers on a scratch database."""
        self.figures = Figures()
        self.peers_python: str = options["peers_python"] or (sys.executable if options["peers"] else "")
        self.churn_sec = SOAK_SEC if options["soak"] else None
        self.pages: list[str] = options["page"]
        with scratch_database(options["keep"]) as scratch:
            self._measure(scratch, QUICK if options["quick"] else FULL, options["only"] or PARTS)
        report.print_latencies(self.figures, self.console)
        report.print_targets(self.figures, self.console)
        return self.figures.report()

    def _measure(self, scratch: Scratch, sizes: Sizes, parts: Collection[str]) -> None:
        system_state.initialise(enabled=True)
        layer: dict[str, Any] = settings.CHANNEL_LAYERS["default"]
        layer["CONFIG"]["prefix"] = channel_prefix()
        load.register()
        report.print_conditions(self.console)
        progress, figures = Progress(self.console), self.figures
        if not {"throughput", "large", "churn"}.isdisjoint(parts):
            self._measure_calls(scratch, sizes, parts, progress)
        if "pickup" in parts:
            workers.measure_pickup(scratch, sizes, figures, progress)
        if "feed" in parts:
            feed.measure_one_client(scratch, sizes, figures, progress)
            feed.measure_many_clients(scratch, sizes, figures, progress)
        if "workers" in parts:
            self._measure_workers(scratch, sizes, progress)
            report.print_workers(figures, self.console)
        if "console" in parts:
            console = _of_checkout("console")
            console.measure(scratch, sizes, figures, progress, wanted=self.pages)
            console.print_pages(figures, self.console)
        if "scale" in parts:
            scale = _of_checkout("scale")
            figures.scale = scale.measure(scratch, sizes, progress)
            scale.print_scale(figures.scale, self.console)
        if "stage" in parts:
            report.print_stage(stage.measure(scratch, sizes, figures, progress), self.console)

    def _measure_calls(self, scratch: Scratch, sizes: Sizes, parts: Collection[str], progress: Progress) -> None:
        """Measure what needs processes that call the queue's functions."""
        figures = self.figures
        queue.prepare()
        with queue.client_pool(scratch) as clients:
            if "throughput" in parts:
                queue.measure_spawning(clients, sizes, figures, progress)
                queue.measure_draining(clients, sizes, figures, progress)
                profiles = queue.profile_calls(clients, sizes)
                report.print_throughput(figures, self.console)
                for name, answer in profiles.items():
                    report.print_profile(name, answer, self.console)
            if "large" in parts:
                large.measure(clients, scratch, sizes, figures, progress)
            if "churn" in parts:
                queue.measure_churn(clients, self.churn_sec or sizes.churn_sec, figures, progress)

    def _measure_workers(self, scratch: Scratch, sizes: Sizes, progress: Progress) -> None:
        """Measure our real workers and the peers' in turn, round after round."""
        with self._peers(scratch, sizes, progress) as peers:
            for _ in range(sizes.rounds):
                workers.measure_round(scratch, sizes, self.figures, progress)
                if peers is not None:
                    peers.measure_round()
            if peers is not None:
                peers.finish()

    def _peers(
        self, scratch: Scratch, sizes: Sizes, progress: Progress
    ) -> contextlib.AbstractContextManager[Session | None]:
        if not self.peers_python:
            return contextlib.nullcontext()
        session: contextlib.AbstractContextManager[Session | None] = _of_checkout("peers.session").session(
            self.peers_python, scratch, sizes, self.figures, progress
        )
        return session


def _of_checkout(name: str) -> Any:
    """Return a module of tests/benchmark, which an installed package does not have. Raises CommandError."""
    try:
        return import_module(f"tests.benchmark.{name}")
    except ModuleNotFoundError:
        message = f"this part belongs to the checkout (tests/benchmark, {name}): run it there"
        raise CommandError(message, returncode=USAGE) from None


FAULTS = (
    NoScratchDatabase, DoesNotStart, queue.ClientFailed, pipeline.StageFailed, hour.HourFailed, TimedOut, TimeoutError,
)  # fmt: skip


def _check(options: dict[str, Any]) -> None:
    """Raise CommandError for options that do not fit together."""
    n_tiles = options["tiles"]
    if not is_writable(options["json"]):
        raise CommandError(f"{options['json']} cannot be written", returncode=USAGE)
    if n_tiles is not None and not (options["hour"] and 1 <= n_tiles <= TILES_OF_AN_HOUR):
        message = f"--tiles is a number from 1 to {TILES_OF_AN_HOUR}, with --hour (got {n_tiles})"
        raise CommandError(message, returncode=USAGE)
    if not KEPT_NAME.fullmatch(options["keep"]):
        message = f"--keep takes up to 30 letters a-z, digits and _ (got {options['keep']!r})"
        raise CommandError(message, returncode=USAGE)
    if options["page"] and "console" not in (options["only"] or ()):
        raise CommandError("--page goes with --only console", returncode=USAGE)
    if options["pipeline"] and options["hour"]:
        raise CommandError("give either --pipeline or --hour", returncode=USAGE)
    if options["defects"] and not options["pipeline"]:
        raise CommandError("--defects goes with --pipeline", returncode=USAGE)
