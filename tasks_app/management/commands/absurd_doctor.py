"""`manage.py absurd_doctor`: every check of `absurd_health --full`, for an operator who looks for a fault."""

from __future__ import annotations

from typing import Any

from tasks_app.management.commands import absurd_health
from tasks_app.monitoring import health


class Command(absurd_health.Command):
    help = (
        "Check the queue, its workers, the database, the disks and Redis. Exit codes: 0 ok, 2 usage, 5 a check is bad."
    )

    def act(self, options: dict[str, Any]) -> None:
        super().act({**options, "full": True})

    def is_unwell(self, found: health.Health) -> bool:
        return any(check.state == "bad" for check in found.checks)
