"""What can be said of a task that is to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """One task to spawn; what is left out, the queue and the task name decide."""

    task_name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    queue_name: str | None = None
    priority: int | None = None
    timeout_sec: int | None = None
    max_retries: int | None = None
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None
    queue_timeout_sec: float | None = None
    total_timeout_sec: float | None = None
    idle_timeout_sec: int | None = None
    concurrency_key: str | None = None
    depends_on: Sequence[UUID | str] | None = None
    depends_on_runs: Sequence[UUID | str] | None = None
    join: Mapping[str, Any] | None = None
    idempotency_key: str = field(default_factory=lambda: f"client-{uuid4()}")
    """A spawn that is repeated with the same key finds the task that the first one made."""

    def body(self, default_queue: str | None) -> dict[str, Any]:
        """Return what the API is sent."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "idempotency_key"}
        found["queue_name"] = self.queue_name or default_queue
        return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return value
