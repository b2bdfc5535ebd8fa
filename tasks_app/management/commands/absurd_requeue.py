"""`manage.py absurd_requeue`: return stalled claims to the queue without waiting for the sweep."""

from __future__ import annotations

from typing import Any

from tasks_app.management.task_operations import TaskCommand
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.operations.tasks import claim_holds, requeue
from tasks_app.postgresql import clock


class Command(TaskCommand):
    operation = requeue

    def narrow(self, tasks: TaskQuerySet, options: dict[str, Any]) -> TaskQuerySet:
        """Select stalled claims only, unless forced."""
        claimed = super().narrow(tasks, options)
        if options["force"]:
            return claimed
        moment = clock.now()
        held = claimed.filter(status="claimed").select_related("worker").defer("params", "result")
        return claimed.filter(pk__in=[task.pk for task in held if not claim_holds(task, moment)])
