"""What the client returns: frozen, typed, with the API's field names. Fields beyond these are kept as they come."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

FINISHED = frozenset({"completed", "failed", "cancelled"})


class Result(BaseModel):
    """A result whose fields may also be read as those of a dict, as older scripts do."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None


class QueueStats(Result):
    """Tasks of one queue, counted by status."""

    queue_name: str
    pending: int
    claimed: int
    completed: int
    failed: int
    cancelled: int
    total: int


class Health(Result):
    """Whether the queue is well; `reasons` tells those who may read why it is not."""

    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    message: str
    queue: str
    reasons: tuple[str, ...] = ()


class TaskInfo(Result):
    """A task. Lists leave `result`, `error`, `bindings` and `depends_on` out."""

    task_id: UUID
    queue_name: str
    task_name: str
    params: dict[str, Any]
    priority: int
    status: Literal["pending", "claimed", "completed", "failed", "cancelled"]
    display_status: str
    retry_count: int
    max_retries: int
    attempt: int
    created_at: datetime
    claimed_at: datetime | None
    completed_at: datetime | None
    duration_sec: float | None
    progress: float | None
    progress_message: str
    worker_id: str | None
    run_id: UUID | None
    stage: str
    created_by: str
    failure_class: str
    error_summary: str | None
    result: dict[str, Any] | None = None
    error: str | None = None
    depends_on: tuple[UUID, ...] = ()
    archived: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the status is a final one."""
        return self.status in FINISHED


class FeedEvent(Result):
    """A message of the feed. `resync` says that those up to its number are not to be had: fetch the state again."""

    type: str
    event_id: int | None = None
    queue_name: str | None = None
    task_id: UUID | None = None
    update: dict[str, Any] = {}
