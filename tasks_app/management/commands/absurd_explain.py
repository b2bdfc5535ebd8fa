"""`manage.py absurd_explain TASK_ID`: why is this task not running?"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app import wording
from tasks_app.errors import TaskNotFound
from tasks_app.explain import Explanation, explain_id

NOT_FOUND = 3


def _complain(message: str) -> NoReturn:
    sys.stderr.write(f"absurd_explain: {message}\n")
    raise SystemExit(2)


class Command(BaseCommand):
    help = (
        "Say why a task is not running, how it is running, or how it ended, with what to do about each cause, the "
        "decisive one first. Exit codes: 0 ok, 2 usage, 3 no such task."
    )
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a usage error one line."""
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.error = _complain  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task_id", type=UUID, metavar="TASK_ID")
        parser.add_argument("--json", action="store_true", help="write what the API answers")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            explanation = explain_id(options["task_id"])
        except TaskNotFound as error:
            raise CommandError(str(error), returncode=NOT_FOUND) from None
        self.stdout.write(_as_json(explanation) if options["json"] else _written(explanation))


def _as_json(explanation: Explanation) -> str:
    from tasks_app.api.explanation_shapes import ExplanationSerializer

    return json.dumps(ExplanationSerializer(explanation).data, ensure_ascii=False, indent=2)


def _written(explanation: Explanation) -> str:
    lines = [
        f"{explanation.task_name} {explanation.task_id} in {explanation.queue_name}: {explanation.state} at "
        f"{wording.moment(explanation.as_of)}",
        explanation.summary,
    ]
    for number, finding in enumerate(explanation.findings, start=1):
        lines += ["", f"{number}. {finding.code} ({finding.weight}): {finding.text}"]
        if finding.do:
            lines.append(f"   Do: {finding.do}")
    return "\n".join(lines)
