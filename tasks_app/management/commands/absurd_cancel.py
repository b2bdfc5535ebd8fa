"""`manage.py absurd_cancel`: cancel tasks by id or by conditions."""

from __future__ import annotations

from tasks_app.management.verbs import CODES, TaskVerb


class Command(TaskVerb):
    help = f"Cancel pending tasks at once and have the workers of claimed ones stop them. {CODES}"
    verb = "cancel"
    statuses = ("pending", "claimed")
