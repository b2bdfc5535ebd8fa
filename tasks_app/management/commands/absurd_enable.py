"""`manage.py absurd_enable`: accept and claim tasks."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.shell import ShellCommand, actor
from tasks_app.operations.enable import enable
from tasks_app.postgresql import clock


class Command(ShellCommand):
    help = "Enable Absurd for all processes and hosts: tasks are accepted and claimed. Exit codes: 0 ok, 2 usage."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Enable, and say since when it is so."""
        state = enable(actor=actor(), reason=options["reason"])
        at = clock.stamp(state.changed_at)
        if options["json"]:
            self.write_json({"enabled": True, "changed_at": at, "changed_by": state.changed_by})
        else:
            self.stdout.write(f"Absurd is enabled since {at} by {state.changed_by}")
