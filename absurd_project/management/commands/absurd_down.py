"""`manage.py absurd_down`: stop the stack and the private servers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from absurd_project.local import servers
from absurd_project.local.liveness import NotPermitted
from absurd_project.local.state import take_down
from tasks_app.management.output import PrintingCommand


class Command(PrintingCommand):
    """Stops everything that runs on the state directory."""

    help = "Stop web, workers and ingest if they run, then the private PostgreSQL and Valkey."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lines = take_down(settings.ABSURD_VAR)
        except (NotPermitted, TimeoutError, servers.EmbeddedServerError) as error:
            raise CommandError(str(error)) from error
        for line in lines or [f"nothing runs on {settings.ABSURD_VAR}"]:
            self.stdout.write(line)
