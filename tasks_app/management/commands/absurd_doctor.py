"""`manage.py absurd_doctor`: look at everything and say what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from tasks_app import health

UNHEALTHY = 5
WORDS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


def _complain(message: str) -> NoReturn:
    sys.stderr.write(f"absurd_doctor: {message}\n")
    raise SystemExit(2)


class Command(BaseCommand):
    """Looks and changes nothing; starts no server either."""

    help = "Look at the queue, its workers, the database, the disks and Redis; exits 5 when something is wrong."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a usage error one line, as all of ours are."""
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.error = _complain  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queue", metavar="NAME", help=f"the queue to look at (default {settings.ABSURD_QUEUE_NAME})"
        )
        parser.add_argument("--json", action="store_true", help="write one JSON document")

    def handle(self, *args: object, **options: Any) -> None:
        found = health.examine(options["queue"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(found), indent=2))
        else:
            self._tell(found)
        if found.status == "unhealthy":
            raise SystemExit(UNHEALTHY)

    def _tell(self, found: health.Health) -> None:
        styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "bad": self.style.ERROR}
        width = max(len(check.name) for check in found.checks)
        for check in found.checks:
            self.stdout.write(f"{styles[check.state](WORDS[check.state])}  {check.name:<{width}}  {check.message}")
            if check.remedy:
                self.stdout.write(f"{'':{width + 8}}{check.remedy}")
        disabled = "" if settings.ABSURD_ENABLED else "; ABSURD_ENABLED is not true here"
        self.stdout.write(f"queue {found.queue} is {found.status}{disabled}")
