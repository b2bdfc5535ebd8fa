"""`manage.py absurd_respawn`: spawn a changed copy of a task."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.operations import OperationCommand
from tasks_app.management.selection import find_task_id
from tasks_app.management.shell import DRY_RUN, actor
from tasks_app.operations.tasks import respawn


class Command(OperationCommand):
    operation = respawn
    codes = "Exit codes: 0 ok, 2 usage, 3 no such task, 75 Absurd is disabled."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task_id", metavar="ID", help="a task id, also of an archived task, or its first digits")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> None:
        key, params = find_task_id(options["task_id"]), self.params(options)
        if options["dry_run"]:
            self.show(options, {"dry_run": True, "copied_from": key}, [f"would spawn a copy of {key}{DRY_RUN}"])
            return
        fresh = respawn.act(key, params, actor())
        content = {"task_id": fresh.task_id, "copied_from": key, "queue_name": fresh.queue_id}
        self.show(options, content, [str(fresh.task_id)])
