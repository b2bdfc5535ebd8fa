"""`manage.py absurd_retry`: run failed or cancelled tasks again."""

from __future__ import annotations

from tasks_app.management.verbs import CODES, TaskVerb


class Command(TaskVerb):
    help = (
        "Return failed or cancelled tasks to their queue with the same params and all retries available again; a "
        f"is lifted. Conditions choose failed tasks unless --status says otherwise. {CODES}"
    )
    verb = "retry"
    statuses = ("failed",)
