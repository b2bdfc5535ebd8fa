"""`manage.py absurd_cancel`: cancel tasks by id or by conditions."""

from __future__ import annotations

from tasks_app.management.verbs import CODES, TaskVerb


class Command(TaskVerb):
    help = f"Cancel pending tasks at once; claimed ones are stopped by their workers. {CODES}"
    verb = "cancel"
    statuses = ("pending", "claimed")
