"""`manage.py absurd_retry`: run failed or cancelled tasks again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tasks_app.actions.retry import retry
from tasks_app.management.verbs import CODES, TaskVerb
from tasks_app.models import Task


class Command(TaskVerb):
    help = (
        "Return failed or cancelled tasks to their queue with the same params and a fresh set of retries; a quarantine "
        f"is lifted. Conditions choose failed tasks unless --status says otherwise. {CODES}"
    )
    verb = "retry"
    statuses = ("failed",)

    def apply(self, task_id: UUID, options: dict[str, Any]) -> tuple[Task, str]:
        """Retry one."""
        return retry(task_id, actor=options["actor"], reason=options["reason"]), "returned to the queue"
