"""`manage.py absurd_explain TASK_ID`: why is this task not running?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.selection import find_task_id
from tasks_app.management.shell import ShellCommand
from tasks_app.management.task_output import lines_of, shape_of
from tasks_app.monitoring.explain.explanation import explain_id


class Command(ShellCommand):
    help = (
        "Show why a task is not running, how it is running, or how it ended, with what to do about each cause, the "
        "decisive one first. Exit codes: 0 ok, 2 usage, 3 no such task."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task_id", metavar="TASK_ID", help="a task id, or the first digits of one")
        parser.add_argument("--json", action="store_true", help="write the JSON that the API returns")

    def act(self, options: dict[str, Any]) -> None:
        explanation = explain_id(find_task_id(options["task_id"]))
        self.show(options, lambda: shape_of(explanation), lines_of(explanation))
