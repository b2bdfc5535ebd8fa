"""`manage.py absurd_cancel`."""

from __future__ import annotations

from tasks_app.management.task_operations import TaskCommand
from tasks_app.operations.tasks import cancel


class Command(TaskCommand):
    operation = cancel
