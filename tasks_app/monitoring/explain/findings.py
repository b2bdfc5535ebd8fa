"""What an explanation is made of, and how it reads the database: in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Literal
from uuid import UUID

from django.db import connection, transaction

from tasks_app import formats
from tasks_app.models import Task
from tasks_app.postgresql import clock

Severity = Literal["blocking", "delaying", "info"]
"""`blocking`: no claim returns the task until this changes. `delaying`: other tasks are first. `info`: a fact."""
SHOWN = 5
"""How many tasks, workers or hosts a finding names."""


class Code(StrEnum):
    """The stable name of each finding."""

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
    TIME_LEFT_SHORT = "time_left_short"
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
    IDLE = "idle"

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
    """A complete sentence."""
    remedy: str = ""
    """What to do; empty where nothing needs to be done."""
    severity: Severity
    detail: Mapping[str, Any]
    """The numbers and ids behind the text, as JSON values."""


def found(code: Code, text: str, remedy: str = "", *, severity: Severity = "info", **detail: object) -> Finding:
    """Return a finding; moments and ids in the detail become texts, and seconds are rounded."""
    values = {name: _json_value(name, value) for name, value in detail.items()}
    return Finding(code=code, text=text, remedy=remedy, severity=severity, detail=values)


blocking = partial(found, severity="blocking")


def _json_value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return clock.stamp(value)
    if isinstance(value, UUID):
        return str(value)
    return round(value, 1) if isinstance(value, float) and name.endswith("_sec") else value


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All findings about one task at one moment, the decisive one first."""

    task_id: UUID
    task_name: str
    queue_name: str
    status: str
    state: str
    """The display status: waiting, scheduled, retrying, stalled, cancelling, quarantined, archived, or the status."""
    as_of: datetime
    summary: str
    findings: tuple[Finding, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether no claim can return the task now."""
        return any(finding.severity == "blocking" for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class Case:
    """The task to explain, and the database's time at which it was read."""

    task: Task
    as_of: datetime

    def sec_since(self, moment: datetime) -> float:
        """Seconds that have passed since the moment."""
        return (self.as_of - moment).total_seconds()

    def sec_until(self, moment: datetime) -> float:
        """Seconds that are left until the moment; negative after it."""
        return -self.sec_since(moment)

    def since(self, moment: datetime | None) -> str:
        """Write a past moment and how long ago it was."""
        if moment is None:
            return "an unknown time"
        return f"{formats.moment(moment)} ({formats.duration(max(0.0, self.sec_since(moment)))} ago)"

    def until(self, moment: datetime) -> str:
        """Write how far away a moment is, and the moment; or how long ago it was."""
        left_sec = self.sec_until(moment)
        if left_sec < 0:
            return f"at {self.since(moment)}"
        return f"in {formats.duration(left_sec)}, at {formats.moment(moment)}"

    def error(self, chars: int) -> str:
        """Return the first line of the task's error, without a full stop."""
        return formats.first_line(self.task.error, chars).rstrip(".") or "no message"


def select(sql: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a query as dictionaries by column name."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def snapshot() -> Iterator[None]:
    """Make all queries see the same state, unless the caller is in a transaction already."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
