"""`manage.py absurd_gameday`: real faults on a staging queue, and how long the recovery took."""

from __future__ import annotations

import signal
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich import box
from rich.table import Table

from tasks_app.engine import system_state
from tasks_app.errors import Disabled
from tasks_app.management.printing import SafeConsole
from tasks_app.management.shell import FAILED, USAGE, ShellCommand
from workers.db_connection import use_single_connection
from workers.gameday import own_servers, report, runner
from workers.gameday.drill import Options, Scenario
from workers.gameday.report import Report
from workers.gameday.scenarios import SCENARIOS
from workers.process.guardian import STOP_SIGNALS

LEASE_LEAST_SEC = 2
GRACE_MOST_SEC = 600


class Command(ShellCommand):
    """Runs scenarios one after another; it touches only processes that it started and tasks that it spawned."""

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
        add("--queue-name", default=Options.queue_name, metavar="NAME", help="the staging queue (default: %(default)s)")
        add("--lease-sec", type=int, default=Options.lease_sec, metavar="SEC", help="lease (default: %(default)s)")
        add("--grace-sec", type=float, default=Options.grace_sec, metavar="SEC", help="grace (default: %(default)s)")
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
        drill_options = _drill_options(options)
        system_state.initialise(enabled=system_state.initially_enabled())
        if not system_state.is_enabled():
            raise Disabled
        if refusal := runner.refusal(drill_options):
            raise CommandError(refusal, returncode=USAGE)
        self.confirm(_question(chosen, drill_options), options)
        use_single_connection()
        # A signal to stop ends it as Ctrl-C does: with everything cleared away.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.default_int_handler)
        try:
            reports = [self._run(scenario, drill_options) for scenario in chosen]
        except KeyboardInterrupt:
            raise CommandError("interrupted; all processes of the drill have ended", returncode=FAILED) from None
        passed = all(each.passed for each in reports)
        if options["json"]:
            self.write_json({"passed": passed, "scenarios": [each.as_dict() for each in reports]})
        else:
            report.print_table(reports, self.console)
        if not passed:
            raise SystemExit(FAILED)

    def _list(self, chosen: list[Scenario], options: dict[str, Any]) -> None:
        if options["json"]:
            self.write_json([{"name": s.name, "title": s.title, "own_servers": s.servers} for s in chosen])
            return
        table = Table("scenario", "what happens", "servers", box=box.SIMPLE)
        for each in chosen:
            table.add_row(each.name, each.title, "its own" if each.servers else "")
        self.console.print(table)

    def _run(self, scenario: Scenario, drill_options: Options) -> Report:
        run = own_servers.run if scenario.servers and not drill_options.servers else runner.run
        with self.console.status(f"{scenario.name}: {scenario.title}"):
            made = run(scenario, drill_options)
        report.print_line(made, self.console)
        return made


def _chosen(names: list[str] | None) -> list[Scenario]:
    unknown = sorted(set(names or []) - SCENARIOS.keys())
    if unknown:
        raise CommandError(f"there is no scenario {unknown[0]!r}; see --list", returncode=USAGE)
    return [scenario for name, scenario in SCENARIOS.items() if not names or name in names]


def _drill_options(options: dict[str, Any]) -> Options:
    lease_sec, grace_sec = options["lease_sec"], options["grace_sec"]
    if lease_sec < LEASE_LEAST_SEC:
        raise CommandError(f"--lease-sec must be at least {LEASE_LEAST_SEC} s (got {lease_sec})", returncode=USAGE)
    if not 0 < grace_sec <= GRACE_MOST_SEC:
        message = f"--grace-sec must be more than 0 and at most {GRACE_MOST_SEC} s (got {grace_sec:g})"
        raise CommandError(message, returncode=USAGE)
    return Options(
        queue_name=options["queue_name"],
        lease_sec=lease_sec,
        grace_sec=grace_sec,
        full=options["full"],
        servers=options["stop_servers"],
    )


def _question(chosen: list[Scenario], options: Options) -> str:
    what = f"Run {len(chosen)} scenarios on queue {options.queue_name!r} of this system, with workers of its own"
    return f"{what}, and STOP ITS SERVERS?" if options.servers else f"{what}?"
