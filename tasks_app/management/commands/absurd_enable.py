"""`manage.py absurd_enable`."""

from __future__ import annotations

from tasks_app.management.operations import SystemCommand
from tasks_app.operations.system import enable


class Command(SystemCommand):
    operation = enable
