"""`manage.py absurd_thaw`."""

from __future__ import annotations

from tasks_app.management.operations import SystemCommand
from tasks_app.operations.system import thaw


class Command(SystemCommand):
    operation = thaw
