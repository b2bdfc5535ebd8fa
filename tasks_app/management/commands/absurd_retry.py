"""`manage.py absurd_retry`."""

from __future__ import annotations

from tasks_app.management.task_operations import TaskCommand
from tasks_app.operations.tasks import retry


class Command(TaskCommand):
    operation = retry
