"""`manage.py absurd_health`: is the queue well?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tasks_app.management.shell import UNHEALTHY, ShellCommand
from tasks_app.monitoring import health

UNWELL = ("unhealthy", "disabled")
WORDS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


class Command(ShellCommand):
    """Looks and changes nothing; starts no server either."""

    help = (
        "Show whether the queue is healthy, degraded or unhealthy, and why; --full shows every check. Exit codes: 0 "
        "healthy or degraded, 2 usage, 5 unhealthy or disabled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", metavar="NAME", help=f"which queue (default: {settings.ABSURD_QUEUE_NAME})")
        parser.add_argument("--full", action="store_true", help="show every check, with its values")
        parser.add_argument("--json", action="store_true", help="write the JSON that the API returns")

    def act(self, options: dict[str, Any]) -> None:
        """Look, tell, and say it by the exit code too."""
        found = health.examine(options["queue"])
        if options["json"]:
            self.write_json(_shape(found, full=options["full"]))
        else:
            self.stdout.write(f"{found.queue}: {found.status}")
            for line in self._full(found) if options["full"] else _terse(found):
                self.stdout.write(line)
        if found.status in UNWELL:
            raise SystemExit(UNHEALTHY)

    def _full(self, found: health.Health) -> list[str]:
        width = max((len(check.name) for check in found.checks), default=0)
        return [
            *_disabled(found),
            *(f"{WORDS[each.state]}  {each.name:<{width}}  {each.reason}" for each in found.checks),
        ]


def _terse(found: health.Health) -> list[str]:
    return [*_disabled(found), *(f"  {reason}" for reason in found.reasons)]


def _disabled(found: health.Health) -> list[str]:
    return [f"  {found.message}"] if found.status == "disabled" else []


def _shape(found: health.Health, *, full: bool) -> dict[str, Any]:
    shape = asdict(found)
    if not full:
        shape.pop("checks")
    return shape
