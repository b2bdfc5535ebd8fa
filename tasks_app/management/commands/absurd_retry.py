"""`manage.py absurd_retry`: retry tasks by id or by conditions."""

from __future__ import annotations

from tasks_app.management.task_operations import TaskCommand
from tasks_app.operations.tasks import retry


class Command(TaskCommand):
    operation = retry
