"""`manage.py absurd_disable`."""

from __future__ import annotations

from tasks_app.management.operations import SystemCommand
from tasks_app.operations.system import disable


class Command(SystemCommand):
    operation = disable
