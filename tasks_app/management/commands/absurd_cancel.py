"""`manage.py absurd_cancel`: cancel tasks by id or by conditions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tasks_app.actions.cancel import cancel
from tasks_app.management.verbs import CODES, TaskVerb
from tasks_app.models import Task, TaskStatus


class Command(TaskVerb):
    help = f"Cancel pending tasks at once and have the workers of claimed ones stop them. {CODES}"
    verb = "cancel"
    statuses = ("pending", "claimed")
    children_first = True

    def apply(self, task_id: UUID, options: dict[str, Any]) -> tuple[Task, str]:
        """Cancel one."""
        task = cancel(task_id, actor=options["actor"], reason=options["reason"])
        return task, "cancelled" if task.status == TaskStatus.CANCELLED else "asked to stop"
