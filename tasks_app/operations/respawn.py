"""Spawn a changed copy of a task."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app.engine import archive
from tasks_app.engine.bindings import with_bindings
from tasks_app.engine.events import Change, record
from tasks_app.engine.lookup import find
from tasks_app.engine.new_task import options_of
from tasks_app.engine.spawn import spawn
from tasks_app.models import Task


@transaction.atomic
def respawn(task_id: UUID, *, actor: str, reason: str = "", **changed: Any) -> Task:
    """Spawn a copy of the task, with the given options in place of what it had; each names the other in its history.

    The copy stands alone, outside any run: what the old task took from its parents' results is written into its params,
    and it waits for nobody. An archived task may be copied too; its own history is closed, so only the copy names it.
    Raises TaskNotFound and what spawn raises.
    """
    old = find(task_id)
    fresh = spawn(options_of(old, **{"params": with_bindings(old), **changed}), actor=actor)
    if not archive.is_archived(old):
        record(old, Change(event_type="respawned", actor=actor, reason=reason, detail={"as": str(fresh.task_id)}))
    record(fresh, Change(event_type="copied", actor=actor, reason=reason, detail={"from": str(old.task_id)}))
    return fresh
