"""Enable and disable the whole system."""

from __future__ import annotations

from django.db import transaction

from tasks_app.engine import notify
from tasks_app.engine.events import Change, announce
from tasks_app.models import Queue, SystemState
from tasks_app.operations.reasons import check_reason
from tasks_app.postgresql import clock


def enable(*, actor: str, reason: str = "") -> SystemState:
    """Accept and claim tasks again; no change if that is so already."""
    with transaction.atomic():
        state = _change(enabled=True, actor=actor, reason=reason)
        notify.wake_workers(Queue.objects.values_list("name", flat=True))
    return state


def disable(*, actor: str, reason: str) -> SystemState:
    """Refuse new tasks and claim none; attempts that run go on. Raises ParamsInvalid without a reason."""
    check_reason(reason)
    with transaction.atomic():
        return _change(enabled=False, actor=actor, reason=reason)


def _change(*, enabled: bool, actor: str, reason: str) -> SystemState:
    state = SystemState.objects.select_for_update().first()
    if state is not None and state.enabled == enabled:
        return state
    state, _ = SystemState.objects.update_or_create(
        id=1, defaults={"enabled": enabled, "changed_by": actor, "changed_at": clock.now(), "reason": reason}
    )
    announce(Change(event_type="enabled" if enabled else "disabled", actor=actor, reason=reason))
    return state
