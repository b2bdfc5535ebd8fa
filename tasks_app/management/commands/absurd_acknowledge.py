"""`manage.py absurd_acknowledge`: hide what a finding of health has reported until now."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.shell import ShellCommand, actor
from tasks_app.operations.acknowledge import FINDINGS, acknowledge
from tasks_app.postgresql import clock


class Command(ShellCommand):
    help = (
        "Acknowledge a finding of health: faults reported until now no longer make the system degraded, later "
        "ones do. Exit codes: 0 ok, 2 usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("finding", choices=FINDINGS, metavar="FINDING", help=", ".join(FINDINGS))
        parser.add_argument("--reason", default="", help="why it needs no further attention (recorded)")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Record the acknowledgement."""
        seen = acknowledge(options["finding"], actor=actor(), reason=options["reason"])
        if options["json"]:
            at = clock.stamp(seen.acknowledged_at)
            self.write_json({"finding": options["finding"], "acknowledged_at": at, "by": seen.acknowledged_by})
        else:
            self.stdout.write(f"{seen.finding}: acknowledged until {clock.stamp(seen.acknowledged_at)}")
