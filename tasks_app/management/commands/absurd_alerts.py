"""`manage.py absurd_alerts`: alert rules for Prometheus and a dashboard for Grafana."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from tasks_app.management.output import PrintingCommand
from tasks_app.monitoring import alerts

FILES = {"prometheus/alerts.yml": alerts.rules, "grafana/dashboard.json": alerts.dashboard}


class Command(PrintingCommand):
    """Writes the files that a monitoring server reads."""

    help = "Write prometheus/alerts.yml and grafana/dashboard.json, made from the list of metrics, into a directory."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="where to write, such as deploy")

    def handle(self, *, directory: Path, **_: Any) -> None:
        for name, make in FILES.items():
            path = directory / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(make(), encoding="utf-8")
            except OSError as error:
                raise CommandError(f"{path} cannot be written: {error.strerror}", returncode=2) from error
            self.stdout.write(str(path))
