"""Set how many tasks of a queue, or of a key, may be claimed at once."""

from __future__ import annotations

from django.db import transaction

from tasks_app.engine import limits, names
from tasks_app.engine.events import Change, announce
from tasks_app.engine.move import admit
from tasks_app.errors import LimitNotFound, ParamsInvalid
from tasks_app.models import Limit, LimitSlot

SIZE_MOST = 1000


@transaction.atomic
def set_limit(scope: str, name: str, size: int, *, actor: str, reason: str = "") -> Limit:
    """Make the limit, or change its size.

    A smaller one stops nothing that runs: slots above the new size are used no more and go when they are free. Raises
    ParamsInvalid.
    """
    _check(scope, name, size)
    limit, created = Limit.objects.select_for_update().get_or_create(scope=scope, name=name, defaults={"size": size})
    before = None if created else limit.size
    limit.size, limit.explicit = size, True
    limit.save(update_fields=["size", "explicit"])
    present = set(limit.slots.values_list("number", flat=True))
    LimitSlot.objects.bulk_create([LimitSlot(limit=limit, number=n) for n in range(1, size + 1) if n not in present])
    if created:
        limits.adopt(limit)
    limits.trim()
    detail = {"scope": scope, "name": name, "from": before, "to": size}
    announce(
        Change(event_type="limit_set", actor=actor, reason=reason, detail=detail),
        queue_name=name if scope == "queue" else "",
    )
    admit([limit.pk])
    return limit


@transaction.atomic
def remove_limit(scope: str, name: str, *, actor: str, reason: str = "") -> None:
    """Remove the limit; a key's tasks fall back to one at a time. Raises LimitNotFound."""
    limit = Limit.objects.select_for_update().filter(scope=scope, name=name).first()
    if limit is None:
        raise LimitNotFound(scope, name)
    detail = {"scope": scope, "name": name, "from": limit.size, "to": None}
    if scope == Limit.Scope.KEY:
        limit.size, limit.explicit = 1, False
        limit.save(update_fields=["size", "explicit"])
        limits.trim()
    else:
        limit.delete()
        limits.unpark(name)
    announce(
        Change(event_type="limit_removed", actor=actor, reason=reason, detail=detail),
        queue_name=name if scope == "queue" else "",
    )
    admit()


def _check(scope: str, name: str, size: int) -> None:
    problems = []
    if scope not in Limit.Scope.values:
        problems.append({"path": "scope", "message": f"write {' or '.join(Limit.Scope.values)}"})
    elif fault := names.fault_of_name(name) if scope == Limit.Scope.QUEUE else names.fault_of_key(name):
        problems.append({"path": "name", "message": fault})
    if not 1 <= size <= SIZE_MOST:
        problems.append({"path": "size", "message": f"write 1 to {SIZE_MOST}; to stop everything, pause the queue"})
    if problems:
        raise ParamsInvalid(problems)
