"""`manage.py absurd_doctor`: look at everything and say what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tasks_app.management.shell import UNHEALTHY, ShellCommand
from tasks_app.monitoring import health

WORDS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


class Command(ShellCommand):
    """Looks and changes nothing; starts no server either."""

    help = (
        "Check the queue, its workers, the database, the disks and Redis. Exit codes: 0 ok, 2 usage, 5 a check is bad."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queue", metavar="NAME", help=f"the queue to check (default {settings.ABSURD_QUEUE_NAME})"
        )
        parser.add_argument("--json", action="store_true", help="write one JSON document")

    def act(self, options: dict[str, Any]) -> None:
        """Look, tell, and say it by the exit code too."""
        found = health.examine(options["queue"])
        if options["json"]:
            self.write_json(asdict(found))
        else:
            self._tell(found)
        if any(check.state == "bad" for check in found.checks):
            raise SystemExit(UNHEALTHY)

    def _tell(self, found: health.Health) -> None:
        styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "bad": self.style.ERROR}
        width = max(len(check.name) for check in found.checks)
        for check in found.checks:
            self.stdout.write(f"{styles[check.state](WORDS[check.state])}  {check.name:<{width}}  {check.message}")
            if check.remedy:
                self.stdout.write(f"{'':{width + 8}}{check.remedy}")
        reason = f": {found.message}" if found.status == "disabled" else ""
        self.stdout.write(f"queue {found.queue} is {found.status}{reason}")
