"""The runtime: it claims tasks and runs each in a guarded process of its own."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.management import get_commands


class WorkersConfig(AppConfig):
    """No views: commands, pilots, checks and the diagnostic task names."""

    name = "workers"
    verbose_name = "Workers"

    def ready(self) -> None:
        from workers import diagnostics

        register(runworker_is_ours, "workers")
        if settings.ABSURD_DIAGNOSTICS:
            diagnostics.register_all()


def runworker_is_ours(**_: Any) -> list[CheckMessage]:
    """Refuse a configuration in which `manage.py runworker` would start something else."""
    owner = get_commands().get("runworker")
    if owner == "workers":
        return []
    return [
        Error(
            f"manage.py runworker belongs to {owner}, not to workers",
            hint="Leave 'channels' out of INSTALLED_APPS, or put it after 'workers'.",
            id="workers.E001",
        )
    ]
