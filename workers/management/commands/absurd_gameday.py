"""`manage.py absurd_gameday`: real faults on a staging queue, and how long it took to be well again."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tasks_app.engine import system_state
from tasks_app.errors import Disabled
from tasks_app.management.printing import SafeConsole
from tasks_app.management.shell import FAILED, USAGE, ShellCommand
from workers.db_connection import use_single_connection
from workers.gameday import printing, private, runner, safety
from workers.gameday.catalogue import Scenario, catalogue
from workers.gameday.report import Report
from workers.gameday.scenario_run import Terms
from workers.process.guardian import STOP_SIGNALS

PLAIN_WIDTH = 170
LEASE_LEAST_SEC = 2


class Command(ShellCommand):
    """Plays scenarios one after another; it touches only processes that it started and tasks that it spawned."""

    help = (
        "Start workers on a staging queue and servers in a temporary directory; kill, stop and overload "
        "them; report the outcome of every task and the recovery time. Exit codes: 0 all passed, "
        "1 a scenario failed or the drill was interrupted, 2 wrong usage or a queue that others use, 75 Absurd is "
        "disabled or the database does not answer: try later."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--list", action="store_true", help="list the scenarios and exit")
        add("--only", action="extend", nargs="+", metavar="NAME", help="run only these scenarios")
        add("--queue-name", default=Terms.queue_name, metavar="NAME", help="the staging queue (default: %(default)s)")
        add("--lease-sec", type=int, default=Terms.lease_sec, metavar="SEC", help="lease (default: %(default)s)")
        add("--grace-sec", type=float, default=Terms.grace_sec, metavar="SEC", help="grace (default: %(default)s)")
        add("--full", action="store_true", help="use outages of ten minutes instead of seconds")
        add(
            "--stop-servers",
            action="store_true",
            help="also stop and kill the private servers of this state directory, instead of separate ones",
        )
        add("--json", action="store_true", help="print the reports as JSON")
        add("--yes", action="store_true", help="do not ask for confirmation")

    def act(self, options: dict[str, Any]) -> None:
        self.console = SafeConsole(sys.stderr if options["json"] else sys.stdout)
        chosen = _chosen(options["only"])
        if options["list"]:
            self._list(chosen, options)
            return
        terms = _terms(options)
        system_state.initialise(enabled=system_state.initially_enabled())
        if not system_state.is_enabled():
            raise Disabled
        refusal = safety.refusal(terms)
        if refusal:
            raise CommandError(refusal, returncode=USAGE)
        self.confirm(_question(chosen, terms), options)
        use_single_connection()
        # Told to stop it ends as by Ctrl-C: with everything cleared away.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.default_int_handler)
        try:
            reports = list(self._play(chosen, terms))
        except KeyboardInterrupt:
            raise CommandError("interrupted; all processes of the drill have ended", returncode=FAILED) from None
        self._tell(reports, options)
        if not all(report.passed for report in reports):
            raise SystemExit(FAILED)

    def _list(self, chosen: list[Scenario], options: dict[str, Any]) -> None:
        if options["json"]:
            self.write_json([{"name": s.name, "title": s.title, "own_servers": s.servers} for s in chosen])
        else:
            printing.print_list(chosen, self.console)

    def _play(self, chosen: list[Scenario], terms: Terms) -> Iterator[Report]:
        for scenario in chosen:
            with self.console.status(f"{scenario.name}: {scenario.title}"):
                if scenario.servers and not terms.servers:
                    report = private.play(scenario, terms)
                else:
                    report = runner.play(scenario, terms)
            printing.print_line(report, self.console)
            yield report

    def _tell(self, reports: list[Report], options: dict[str, Any]) -> None:
        if options["json"]:
            passed = all(report.passed for report in reports)
            self.write_json({"passed": passed, "scenarios": [report.as_dict() for report in reports]})
        else:
            printing.print_table(reports, self.console)


def _chosen(names: list[str] | None) -> list[Scenario]:
    every = catalogue()
    unknown = sorted(set(names or []) - every.keys())
    if unknown:
        raise CommandError(f"there is no scenario {unknown[0]!r}; see --list", returncode=USAGE)
    return [scenario for name, scenario in every.items() if not names or name in names]


def _terms(options: dict[str, Any]) -> Terms:
    if options["lease_sec"] < LEASE_LEAST_SEC:
        raise CommandError(f"a lease has at least {LEASE_LEAST_SEC} s", returncode=USAGE)
    if not 0 < options["grace_sec"] <= 600:
        raise CommandError("the grace is more than 0 s and at most 600 s", returncode=USAGE)
    return Terms(
        queue_name=options["queue_name"],
        lease_sec=options["lease_sec"],
        grace_sec=options["grace_sec"],
        full=options["full"],
        servers=options["stop_servers"],
    )


def _question(chosen: list[Scenario], terms: Terms) -> str:
    what = f"Run {len(chosen)} scenarios on queue {terms.queue_name!r} of this system, with workers of its own"
    return f"{what}, and STOP ITS SERVERS?" if terms.servers else f"{what}?"
