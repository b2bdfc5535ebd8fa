"""`manage.py absurd_freeze`."""

from __future__ import annotations

from tasks_app.management.operations import SystemCommand
from tasks_app.operations.system import freeze


class Command(SystemCommand):
    operation = freeze
