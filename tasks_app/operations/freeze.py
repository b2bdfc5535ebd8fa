"""The emergency stop: from one commit to the next nothing is claimed anywhere."""

from __future__ import annotations

from django.db import transaction

from tasks_app.engine import notify
from tasks_app.engine.events import Change, announce
from tasks_app.errors import AlreadyFrozen, NotFrozen
from tasks_app.models import Freeze, Queue
from tasks_app.operations.reasons import check_reason
from tasks_app.postgresql import clock


def freeze(*, actor: str, reason: str) -> Freeze:
    """Stop all claims. What runs goes on, spawns are accepted and held, sweeps and schedules go on.

    Raises AlreadyFrozen, naming who did it and why, and ParamsInvalid without a reason.
    """
    check_reason(reason)
    with transaction.atomic():
        fresh, created = Freeze.objects.get_or_create(
            id=1, defaults={"frozen_by": actor, "reason": reason, "frozen_at": clock.now()}
        )
        if not created:
            raise AlreadyFrozen(fresh.frozen_by, fresh.frozen_at, fresh.reason)
        announce(Change(event_type="frozen", actor=actor, reason=reason))
    return fresh


def thaw(*, actor: str, reason: str = "") -> None:
    """Let tasks be claimed again. Raises NotFrozen."""
    with transaction.atomic():
        deleted, _ = Freeze.objects.all().delete()
        if not deleted:
            raise NotFrozen
        announce(Change(event_type="thawed", actor=actor, reason=reason))
        notify.wake_workers(Queue.objects.values_list("name", flat=True))


def current() -> Freeze | None:
    """Return the freeze that holds now, if any."""
    return Freeze.objects.first()
