"""`manage.py absurd_freeze`: the emergency stop, from the shell."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.shell import ShellCommand, actor
from tasks_app.models import Task, TaskStatus
from tasks_app.operations.freeze import freeze
from tasks_app.postgresql import clock


class Command(ShellCommand):
    help = (
        "Let no task of any queue be claimed until absurd_thaw. Running tasks continue; new tasks stay pending. Exit "
        "codes: 0 ok, 1 not confirmed, 2 usage, 4 frozen already."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="reason (required, recorded)")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Freeze, after saying what that means."""
        running = Task.objects.filter(status=TaskStatus.CLAIMED).count()
        self.confirm(f"Freeze every queue? The {running} claimed tasks continue, no other task starts.", options)
        made = freeze(actor=actor(), reason=options["reason"])
        if options["json"]:
            self.write_json(
                {"frozen_at": clock.stamp(made.frozen_at), "frozen_by": made.frozen_by, "reason": made.reason}
            )
        else:
            self.stdout.write(
                f"everything is frozen ({running} claimed tasks continue); run absurd_thaw to end the freeze"
            )
