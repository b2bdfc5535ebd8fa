"""What an explanation is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from tasks_app import formats
from tasks_app.models import Task
from tasks_app.postgresql import clock

Weight = Literal["blocks", "delays", "tells"]
"""`blocks`: no claim returns the task before this has changed. `delays`: others go first. `tells`: good to know."""


class Code(StrEnum):
    """What each finding is called, for ever."""

    FROZEN = "frozen"
    QUEUE_PAUSED = "queue_paused"
    WAITING_ON_FAILURE = "waiting_on_failure"
    WAITING = "waiting"
    SCHEDULED = "scheduled"
    RETRYING = "retrying"
    DUE = "due"
    LIMIT_FULL = "limit_full"
    LIMIT_TURN = "limit_turn"
    NO_WORKER = "no_worker"
    WORKERS_PAUSED = "workers_paused"
    MEMORY_TOO_BIG = "memory_too_big"
    MEMORY_BUSY = "memory_busy"
    CORES_BUSY = "cores_busy"
    DISK_LOW = "disk_low"
    ROOTS_MISSING = "roots_missing"
    UNAVAILABLE = "unavailable"
    SLOTS_BUSY = "slots_busy"
    BEHIND = "behind"
    CLAIMABLE = "claimable"
    UNKNOWN_TASK_NAME = "unknown_task_name"
    EXPIRES = "expires"
    DEADLINE = "deadline"
    LAST_ATTEMPT = "last_attempt"

    CANCELLING = "cancelling"
    STOPPING = "stopping"
    STALLED = "stalled"
    WORKER_SILENT = "worker_silent"
    RUNNING = "running"
    LEASE = "lease"
    TIMEOUT = "timeout"
    SILENCE = "silence"

    COMPLETED = "completed"
    NO_WORK = "no_work"
    FAILED = "failed"
    EXPIRED = "expired"
    UNRUNNABLE = "unrunnable"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    ATTEMPTS = "attempts"
    AWAITED = "awaited"
    ARCHIVED = "archived"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause or fact, and what to do about it."""

    code: Code
    text: str
    """A sentence that stands for itself."""
    do: str = ""
    """The remedy; empty where the text needs none."""
    weight: Weight = "tells"
    detail: Mapping[str, Any] = field(default_factory=dict)
    """The numbers and ids behind the text, as JSON has them."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that explains one task at one moment, the decisive finding first."""

    task_id: UUID
    task_name: str
    queue_name: str
    status: str
    state: str
    """The finer word: waiting, scheduled, retrying, stalled, cancelling, quarantined, archived, or the status."""
    as_of: datetime
    summary: str
    findings: tuple[Finding, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether no claim can return the task now."""
        return any(finding.weight == "blocks" for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class Case:
    """The task to be explained, as it was at a moment."""

    task: Task
    as_of: datetime

    def sec_since(self, moment: datetime) -> float:
        """Seconds that have passed since the moment."""
        return (self.as_of - moment).total_seconds()

    def since(self, moment: datetime | None) -> str:
        """Write a moment of the past and how long ago it was."""
        if moment is None:
            return "a time that is not known"
        return f"{formats.moment(moment)} ({formats.duration(max(0.0, self.sec_since(moment)))} ago)"

    def until(self, moment: datetime) -> str:
        """Write how far away a moment is, and the moment; or how long ago it was."""
        left_sec = -self.sec_since(moment)
        if left_sec < 0:
            return f"at {self.since(moment)}"
        return f"in {formats.duration(left_sec)}, at {formats.moment(moment)}"


def stamp(moment: datetime | None) -> str | None:
    """Write a moment for a detail."""
    return None if moment is None else clock.stamp(moment)
