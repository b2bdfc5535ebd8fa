"""`manage.py absurd_health`: whether the queue works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tasks_app.management.shell import UNHEALTHY, ShellCommand
from tasks_app.monitoring import health

LABELS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


class Command(ShellCommand):
    """Reads and changes nothing; starts no server."""

    help = (
        "Show whether the queue is healthy, degraded or unhealthy, and why; --full shows every check. Exit codes: 0 "
        "healthy or degraded, 2 usage, 5 unhealthy or disabled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", metavar="NAME", help=f"which queue (default: {settings.ABSURD_QUEUE_NAME})")
        parser.add_argument("--full", action="store_true", help="show every check, with its values")
        parser.add_argument("--json", action="store_true", help="write the JSON that the API returns")

    def act(self, options: dict[str, Any]) -> None:
        found = health.examine(options["queue"])
        content = asdict(found)
        if not options["full"]:
            content.pop("checks")
        self.show(options, content, _lines(found, full=options["full"]))
        if self.is_unwell(found):
            raise SystemExit(UNHEALTHY)

    def is_unwell(self, found: health.Health) -> bool:
        """Whether the exit code says that something must be done."""
        return found.status in ("unhealthy", "disabled")


def _lines(found: health.Health, *, full: bool) -> Iterator[str]:
    yield f"{found.queue}: {found.status}"
    if found.status == "disabled":
        yield f"  {found.message}"
    if not full:
        yield from (f"  {reason}" for reason in found.reasons)
        return
    width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        yield f"{LABELS[check.state]}  {check.name:<{width}}  {check.message}"
        if check.advice:
            yield f"{'':{width + 8}}{check.advice}"
