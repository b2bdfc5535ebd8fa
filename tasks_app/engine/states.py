"""The state machine as a table."""

from __future__ import annotations

from tasks_app.models import TaskStatus

PENDING, CLAIMED = TaskStatus.PENDING, TaskStatus.CLAIMED
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

LEGAL: frozenset[tuple[str, str]] = frozenset(
    {
        (PENDING, CLAIMED),
        (CLAIMED, COMPLETED),
        (CLAIMED, FAILED),
        (CLAIMED, CANCELLED),
        (CLAIMED, PENDING),
        (PENDING, CANCELLED),
        (PENDING, FAILED),
        (FAILED, PENDING),
        (CANCELLED, PENDING),
    }
)
