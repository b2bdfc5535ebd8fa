"""Whether Absurd is enabled: one row for all processes. ABSURD_ENABLED only gives its initial value."""

from __future__ import annotations

import os

from django.conf import settings

from tasks_app.models import SystemState
from tasks_app.postgresql import clock

INITIAL = "ABSURD_ENABLED"


def current() -> SystemState | None:
    """Return the stored state; None as long as no process has stored the initial one."""
    return SystemState.objects.first()


def is_enabled() -> bool:
    """Return whether tasks are accepted and claimed."""
    state = current()
    return bool(settings.ABSURD_ENABLED) if state is None else state.enabled


def initially_enabled() -> bool:
    """Return what ABSURD_ENABLED says; without it, a single machine starts enabled, as `make up` does."""
    return bool(settings.ABSURD_ENABLED) or ("ABSURD_ENABLED" not in os.environ and settings.ABSURD_MODE == "local")


def disabled_message(state: SystemState | None) -> str:
    """Return why Absurd is disabled and what enables it."""
    if state is None:
        return "Absurd is disabled: run manage.py absurd_enable, or start it with ABSURD_ENABLED=true"
    reason = f" ({state.reason})" if state.reason else ""
    return (
        f"Absurd is disabled by {state.changed_by} since {clock.stamp(state.changed_at)}{reason}: "
        "run manage.py absurd_enable"
    )


def initialise(*, enabled: bool) -> None:
    """Store the initial state, unless a state is stored already; `enabled` false stores nothing."""
    if enabled:
        SystemState.objects.get_or_create(id=1, defaults={"enabled": True, "changed_by": INITIAL})
