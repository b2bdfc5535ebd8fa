"""`manage.py absurd_reprioritize`: change tasks' places in the queue."""

from __future__ import annotations

from django.core.management.base import CommandParser

from tasks_app.management.arguments import whole
from tasks_app.management.verbs import CODES, TaskVerb
from tasks_app.priority import PRIORITY_LEAST, PRIORITY_MOST


class Command(TaskVerb):
    help = (
        "Give unfinished tasks another priority: 15 to 20 critical, 10 to 14 high, 5 to 9 normal, 1 to 4 low. For a "
        f"claimed one it takes effect with its next attempt. {CODES}"
    )
    verb = "reprioritize"
    statuses = ("pending", "claimed")

    def add_options(self, parser: CommandParser) -> None:
        """Add the new priority."""
        priority = whole(PRIORITY_LEAST, PRIORITY_MOST)
        parser.add_argument("--priority", type=priority, required=True, metavar="N", help="the new priority")
