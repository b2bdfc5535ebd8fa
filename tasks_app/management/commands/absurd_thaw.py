"""`manage.py absurd_thaw`: end the emergency stop."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.errors import NotFrozen
from tasks_app.management.shell import ShellCommand, actor
from tasks_app.operations.freeze import current, thaw
from tasks_app.postgresql import clock


class Command(ShellCommand):
    help = "Let tasks be claimed again after absurd_freeze. Exit codes: 0 ok, 2 usage, 4 nothing is frozen."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="why; it is recorded with the event")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Thaw, and say what the freeze was for."""
        was = current()
        if was is None:
            raise NotFrozen
        thaw(actor=actor(), reason=options["reason"])
        if options["json"]:
            self.write_json(
                {"was_frozen_at": clock.stamp(was.frozen_at), "was_frozen_by": was.frozen_by, "reason_was": was.reason}
            )
        else:
            self.stdout.write(f"thawed; it was frozen {clock.stamp(was.frozen_at)} by {was.frozen_by}: {was.reason}")
