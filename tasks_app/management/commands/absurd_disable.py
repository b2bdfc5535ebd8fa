"""`manage.py absurd_disable`: refuse new tasks and claim none."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.shell import ShellCommand, actor
from tasks_app.models import Task, TaskStatus
from tasks_app.operations.enable import disable
from tasks_app.postgresql import clock


class Command(ShellCommand):
    help = (
        "Disable Absurd everywhere: new tasks are refused (503), none is claimed, running attempts "
        "continue. Exit codes: 0 ok, 1 not confirmed, 2 usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; shown by health until Absurd is enabled")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Disable, after saying what that means."""
        running = Task.objects.filter(status=TaskStatus.CLAIMED).count()
        self.confirm(f"Disable Absurd? New tasks are refused; the {running} claimed tasks continue.", options)
        state = disable(actor=actor(), reason=options["reason"])
        at = clock.stamp(state.changed_at)
        if options["json"]:
            self.write_json(
                {"enabled": False, "changed_at": at, "changed_by": state.changed_by, "reason": state.reason}
            )
        else:
            self.stdout.write(f"Absurd is disabled since {at} by {state.changed_by} ({state.reason})")
