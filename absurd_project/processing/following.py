"""The committed events of some runs, in order, none skipped."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tasks_app.engine.event_window import readable_limit
from tasks_app.models import TaskEvent


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one task, as the feed tells it."""

    task_id: UUID
    status: str
    update: dict[str, Any] = field(default_factory=dict)


class Follower:
    """Hands out the changes of the tasks of some runs since it was made."""

    def __init__(self) -> None:
        self._position = readable_limit()[0]
        self._runs: Collection[UUID] = ()

    def follow(self, run_ids: Collection[UUID]) -> None:
        """Say whose changes are wanted."""
        self._runs = list(run_ids)

    def poll(self) -> list[Change]:
        """Return what was committed since the last call."""
        limit, _ = readable_limit()
        if limit <= self._position:
            return []
        events = TaskEvent.objects.filter(id__gt=self._position, id__lte=limit, run_id__in=self._runs).order_by("id")
        changes = [
            Change(task_id=event.task_id, status=event.to_status, update=event.detail.get("update", {}))
            for event in events
            if event.to_status and event.task_id
        ]
        self._position = limit
        return changes
