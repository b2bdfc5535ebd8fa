"""What can be said of a new task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tasks_app.models import Run
from tasks_app.models.task import PRIORITY_DEFAULT


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A param that takes its value from a field of a parent's result; the parent becomes a dependency."""

    task_id: UUID
    field: str

    @property
    def parents(self) -> tuple[UUID, ...]:
        """Whose results are needed."""
        return (self.task_id,)

    def stored(self) -> dict[str, Any]:
        """The binding as the task's row keeps it."""
        return {"task_id": str(self.task_id), "field": self.field}


@dataclass(frozen=True, kw_only=True)
class Gather:
    """A param that takes the list of a field of several parents' results, of those that have completed, in order."""

    task_ids: Sequence[UUID]
    field: str

    @property
    def parents(self) -> tuple[UUID, ...]:
        """Whose results are needed."""
        return tuple(self.task_ids)

    def stored(self) -> dict[str, Any]:
        """The binding as the task's row keeps it."""
        return {"task_ids": [str(task_id) for task_id in self.task_ids], "field": self.field}


@dataclass(frozen=True, kw_only=True)
class Join:
    """When a task stops waiting for those it depends on: "all 12, or after 20 min at least 9".

    Without a quorum it waits for all. A quorum alone is enough at once; with a deadline, from the deadline on, or as
    soon as no parent is still to come.
    """

    quorum: int | None = None
    deadline_sec: float | None = None


@dataclass(frozen=True, kw_only=True)
class SpawnRequest:
    """Everything that can be said of a new task."""

    task_name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    queue_name: str | None = None
    priority: int = PRIORITY_DEFAULT
    timeout_sec: int | None = None
    max_retries: int | None = None
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None
    queue_timeout_sec: float | None = None
    """Fails if no attempt has begun by then."""
    total_timeout_sec: float | None = None
    """No attempt begins or goes on after this, counted from the spawn or from `scheduled_at`."""
    idle_timeout_sec: int | None = None
    concurrency_key: str = ""
    depends_on: Sequence[UUID] = ()
    depends_on_runs: Sequence[UUID] = ()
    """Runs all of whose present tasks must have completed."""
    join: Join | None = None
    bindings: Mapping[str, Binding | Gather] = field(default_factory=dict)
    idempotency_key: str | None = None
    run: Run | None = None
    stage: str = ""
    task_id: UUID | None = None
