"""The values of the client: its settings, the task to spawn, and its results with the API's field names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from tasks_app.client.faults import WrongAddress
from tasks_app.engine.options import TaskOptions
from tasks_app.formats import without_passwords

FINISHED = frozenset({"completed", "failed", "cancelled"})
SERVER_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, kw_only=True)
class AbsurdConfig:
    """The address and the settings of a client."""

    url: str
    """A server, as in http://host:8000, or a database, as in postgresql://user:password@host:5432/absurd."""
    queue_name: str | None = None
    """The queue of tasks that name none, and of health; None: the server's default."""
    api_key: str = ""
    timeout_sec: float = 10.0
    """Of one request."""
    retries: int = 4
    """How often an unanswered call is repeated, if it may be."""

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise WrongAddress(f"{without_passwords(self.url)!r} is not the address of a server or a database")

    @classmethod
    def from_env(cls) -> AbsurdConfig:
        """Read ABSURD_DATABASE_URL, ABSURD_QUEUE_NAME and ABSURD_API_KEY. Raises WrongAddress."""
        return cls(
            url=os.environ.get("ABSURD_DATABASE_URL", ""),
            queue_name=os.environ.get("ABSURD_QUEUE_NAME") or None,
            api_key=os.environ.get("ABSURD_API_KEY", ""),
        )

    @property
    def is_server(self) -> bool:
        return urlsplit(self.url).scheme in SERVER_SCHEMES


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_database = parts.scheme in DATABASE_SCHEMES and url.startswith(f"{parts.scheme}://")  # a socket needs no host
    return is_database or (parts.scheme in SERVER_SCHEMES and bool(parts.netloc))


class NewTask(TaskOptions):
    """One task to spawn; defaults are those of the queue and the task name. Raises ParamsInvalid."""

    idempotency_key: str = Field(default_factory=lambda: f"client-{uuid4()}", min_length=1, max_length=200)
    """A spawn that is repeated with the same key finds the task that the first one made."""

    def body(self, default_queue: str | None) -> dict[str, Any]:
        """Return what the API is sent. Raises ValueError for params that JSON cannot hold."""
        body = self.model_dump(mode="json", exclude_defaults=True, exclude={"idempotency_key", "params"})
        queue = {"queue_name": self.queue_name or default_queue} if self.queue_name or default_queue else {}
        return {**body, **queue, "params": to_jsonable_python(self.params)}


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
    """Whether the queue works; `reasons` is empty for a caller who may not read."""

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
        return self.status in FINISHED


class FeedEvent(Result):
    """A message of the feed. After a `resync`, messages up to its number are missing: fetch the state again."""

    type: str
    event_id: int | None = None
    queue_name: str | None = None
    task_id: UUID | None = None
    update: dict[str, Any] = {}
