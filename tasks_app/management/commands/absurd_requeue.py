"""`manage.py absurd_requeue`: give stalled claims back to the queue without waiting for the sweep."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tasks_app.management.verbs import CODES, TaskVerb
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.operations.requeue import claim_holds
from tasks_app.postgresql import clock


class Command(TaskVerb):
    help = (
        "End claims whose lease has expired or whose worker is gone; the tasks return to the queue, or fail when they "
        f"have no retry left. The sweep does the same within a minute. {CODES}"
    )
    verb = "requeue"
    statuses = ("claimed",)

    def add_options(self, parser: CommandParser) -> None:
        """Add what takes a claim from a worker that still holds it."""
        parser.add_argument(
            "--force",
            action="store_true",
            help="also claims whose lease is still valid: the worker's outcome will be refused",
        )

    def narrow(self, tasks: TaskQuerySet, options: dict[str, Any]) -> TaskQuerySet:
        """Choose stalled claims only, unless forced."""
        claimed = super().narrow(tasks, options)
        if options["force"]:
            return claimed
        moment = clock.now()
        held = claimed.filter(status="claimed").select_related("worker").defer("params", "result")
        return claimed.filter(pk__in=[task.pk for task in held if not claim_holds(task, moment)])
