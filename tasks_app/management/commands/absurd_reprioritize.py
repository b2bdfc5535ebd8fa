"""`manage.py absurd_reprioritize`."""

from __future__ import annotations

from tasks_app.management.task_operations import TaskCommand
from tasks_app.operations.tasks import reprioritize


class Command(TaskCommand):
    operation = reprioritize
