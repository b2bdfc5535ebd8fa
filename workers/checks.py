"""`runworker` is ours: Channels has a command of that name too."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.management import get_commands


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
