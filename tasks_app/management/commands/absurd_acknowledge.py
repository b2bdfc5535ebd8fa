"""`manage.py absurd_acknowledge`."""

from __future__ import annotations

from tasks_app.management.operations import SystemCommand
from tasks_app.operations.system import acknowledge


class Command(SystemCommand):
    operation = acknowledge
