"""Private PostgreSQL and Valkey under the state directory: start, attach, stop. No Django here."""

from __future__ import annotations

from absurd_project.embedded.pair import (
    Status,
    database_url,
    ensure,
    healthy,
    purge,
    redis_url,
    status,
    stop,
    stop_started,
)
from absurd_project.embedded.refusal import EmbeddedServerError

__all__ = [
    "EmbeddedServerError",
    "Status",
    "database_url",
    "ensure",
    "healthy",
    "purge",
    "redis_url",
    "status",
    "stop",
    "stop_started",
]
