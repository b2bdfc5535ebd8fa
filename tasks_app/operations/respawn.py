"""Spawn a changed copy of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app.engine import archive
from tasks_app.engine.events import Change, record
from tasks_app.engine.lookup import find
from tasks_app.engine.options import SpawnRequest
from tasks_app.engine.spawn import spawn
from tasks_app.engine.worker_calls import with_bindings
from tasks_app.models import Task


@transaction.atomic
def respawn(
    task_id: UUID,
    *,
    actor: str,
    reason: str = "",
    params: Mapping[str, Any] | None = None,
    priority: int | None = None,
    timeout_sec: int | None = None,
) -> Task:
    """Spawn a copy of the task, with what is given in place of what it had; each names the other in its history.

    The copy stands alone, outside any run: what the old task took from its parents' results is written into its params,
    and it waits for nobody. An archived task may be copied too; its own history is closed, so only the copy names it.
    Raises TaskNotFound and what spawn raises.
    """
    old = find(task_id)
    fresh = spawn(
        SpawnRequest(
            task_name=old.task_name,
            queue_name=old.queue_id,
            params=with_bindings(old) if params is None else params,
            priority=old.priority if priority is None else priority,
            timeout_sec=old.timeout_sec if timeout_sec is None else timeout_sec,
            max_retries=old.max_retries,
            idle_timeout_sec=old.idle_timeout_sec,
            concurrency_key=old.concurrency_key,
        ),
        actor=actor,
    )
    if not archive.is_archived(old):
        record(old, Change(event_type="respawned", actor=actor, reason=reason, detail={"as": str(fresh.task_id)}))
    record(fresh, Change(event_type="copied", actor=actor, reason=reason, detail={"from": str(old.task_id)}))
    return fresh
