"""Claim tasks and run each in a guarded process of its own, until asked to stop."""

from __future__ import annotations

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, ProgrammingError

from tasks_app.engine import system_state
from tasks_app.management.output import PrintingCommand
from tasks_app.postgresql import outages
from workers import options
from workers.process.publication import NoPublishRoot
from workers.worker import WorkerLoop, replace_process


class Command(PrintingCommand):
    help = (
        "Run a worker. The first SIGTERM, SIGHUP or Ctrl-C lets running attempts finish; a second SIGTERM or Ctrl-C "
        "stops them at once and returns their tasks; no retry is used up."
    )

    # All checks would load the console and the API, which a worker does not need.
    requires_system_checks = ["workers"]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_arguments(parser)

    def handle(self, *args: object, **parsed: Any) -> None:
        if parsed["database_url"] not in (None, settings.ABSURD_DATABASE_URL):
            raise CommandError("--database-url only works on the command line, where manage.py reads it first")
        try:
            self._refuse_while_disabled()
            if WorkerLoop(options.from_parsed(parsed)).run():
                replace_process()
        except NoPublishRoot as error:
            raise CommandError(str(error)) from None
        except ProgrammingError as error:
            fault = str(error).split("\n", 1)[0]
            raise CommandError(
                f"the database schema is not that of this version: run manage.py migrate: {fault}"
            ) from error

    def _refuse_while_disabled(self) -> None:
        """Raise CommandError while the system was never enabled; one that was disabled later is waited for."""
        try:
            system_state.initialise(enabled=settings.ABSURD_ENABLED)
            state = system_state.current()
        except DatabaseError as error:
            if outages.is_outage(error):  # which the worker waits for
                return
            raise
        if state is None:
            raise CommandError(system_state.disabled_message(None))
        if not state.enabled:
            self.stderr.write(f"{system_state.disabled_message(state)}. This worker claims nothing until then.")
