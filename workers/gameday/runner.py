"""Play a scenario from beginning to end and return its report."""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
from collections.abc import Iterator

from django.db import Error, connection

from tasks_app.postgresql import outages
from workers import diagnostics
from workers.gameday import cleanup, invariants
from workers.gameday.catalogue import Scenario
from workers.gameday.polling import NothingCame
from workers.gameday.report import Report
from workers.gameday.scenario_run import Game, Skipped, Terms
from workers.process.guardian import STOP_SIGNALS


def play(scenario: Scenario, terms: Terms) -> Report:
    """Play one scenario; whatever goes wrong in it is in the report. Only a wish to stop is raised."""
    report = Report(name=scenario.name, title=scenario.title)
    if scenario.servers and not terms.servers:
        report.skipped = "it stops servers, and these are not its own"
        return report
    diagnostics.register_all()
    began = time.monotonic()
    game = Game(terms, report)
    try:
        _play(scenario, game)
    finally:
        with _undisturbed():
            _clear_away(game)
        report.wall_sec = round(time.monotonic() - began, 1)
    return report


def _clear_away(game: Game) -> None:
    try:
        game.cancel_the_rest()
        game.crew.end()
        cleanup.end(game.terms.queue_name)
        game.crew.sign_off()
    except Error as error:
        if not outages.is_outage(error):
            raise
        connection.close()
        game.report.notes.append(f"rows could not be cleared away: {error}")
    finally:
        game.close(keep=not game.report.passed)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C interrupt the clearing away."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _play(scenario: Scenario, game: Game) -> None:
    try:
        scenario.play(game)
        invariants.settle(game)
    except Skipped as reason:
        game.report.skipped = str(reason)
    except NothingCame as error:
        game.report.expect("what had to happen happened", False, error)
    except Exception as error:
        game.report.expect("the scenario ran to its end", False, f"{type(error).__name__}: {error}")
        game.report.notes.append(traceback.format_exc())
