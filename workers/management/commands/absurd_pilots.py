"""`manage.py absurd_pilots`: submit workers to a batch system while tasks wait."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error, connection

from tasks_app.management.shell import USAGE, ShellCommand
from tasks_app.postgresql import outages
from workers.pilots import options as pilot_options
from workers.pilots.batch import Batch, BatchError
from workers.pilots.controller import Controller, Step
from workers.service_manager import Notifier


class Command(ShellCommand):
    help = (
        "Keep between --min and --max pilots: workers in jobs of a batch system (Slurm, PBS, LSF, Flux), submitted "
        "while tasks wait that no worker takes. They find memory and cores in their allocation, drain before it ends, "
        "and end when there is nothing left to do. Exit codes: 0 stopped, 2 usage, or no batch system can be reached."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        pilot_options.add_arguments(parser)
        parser.add_argument("--once", action="store_true", help="look once, do what is due, and end")
        parser.add_argument("--dry-run", action="store_true", help="look once and only say what would be submitted")
        parser.add_argument("--json", action="store_true", help="one line of JSON for each look that found something")

    def act(self, options: dict[str, Any]) -> None:
        chosen = pilot_options.from_parsed(options)
        self._said: list[str] = []
        try:
            controller = Controller(chosen, Batch(chosen))
            step = controller.step(dry_run=options["dry_run"])
        except BatchError as error:
            raise CommandError(str(error), returncode=USAGE) from None
        self._show(step, options)
        if options["once"] or options["dry_run"]:
            if step.fault:
                raise CommandError(step.fault, returncode=USAGE)
            return
        self._watch(controller, chosen, options)

    def _watch(self, controller: Controller, chosen: pilot_options.Options, options: dict[str, Any]) -> None:
        """Look again and again until stopped; neither a database nor a batch system that is away ends it."""
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        notifier = Notifier()
        notifier.ready()
        while not stop.wait(chosen.poll_sec):
            try:
                step = controller.step()
            except BatchError as error:
                self._say([str(error)], self.stderr)
            except Error as error:
                self._say([f"{outages.describe(error)}; retrying"], self.stderr)
                connection.close()
            else:
                self._show(step, options)
                notifier.status(f"{step.running} pilots work, {step.starting} start, {step.waiting} tasks wait")
        notifier.stopping()
        if chosen.cancel:
            try:
                self._say([f"cancelled pilots: {controller.cancel()}"], self.stdout)
            except BatchError as error:
                raise CommandError(str(error), returncode=USAGE) from None

    def _show(self, step: Step, options: dict[str, Any]) -> None:
        lines = step.lines(dry_run=options["dry_run"])
        if not options["json"]:
            self._say(lines, self.stdout)
        elif lines or options["once"] or options["dry_run"]:
            self.write_json(asdict(step), indent=None)

    def _say(self, lines: list[str], stream: Any) -> None:
        """Write lines, unless they are those that were written last."""
        if lines != self._said:
            for line in lines:
                stream.write(line)
            stream.flush()
        self._said = lines
