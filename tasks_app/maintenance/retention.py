"""For how long what has finished is kept: in the hot tables, in the archive, and by its key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class Policy:
    """After how many days something moves on; all are counted from the end, keys from their first use."""

    task_days: int
    failed_days: int
    archive_days: int
    """When an archived task is forgotten; zero: never."""
    key_days: int
    worker_days: int
    """When a worker that stopped or fell silent is forgotten, unless a task or an attempt still names it."""
    queue_name: str | None = None
    """Only tasks of this queue are archived."""

    @classmethod
    def configured(cls) -> Self:
        """Return the policy of the settings."""
        return cls(
            task_days=settings.ABSURD_RETENTION_DAYS,
            failed_days=settings.ABSURD_FAILED_RETENTION_DAYS,
            archive_days=settings.ABSURD_ARCHIVE_DAYS,
            key_days=settings.ABSURD_KEY_RETENTION_DAYS,
            worker_days=settings.ABSURD_RETENTION_DAYS,
        )

    def narrowed(self, *, older_than_days: int | None = None, queue_name: str | None = None) -> Self:
        """Return the policy for one queue, or with another age for all finished tasks, failures too."""
        days = {} if older_than_days is None else {"task_days": older_than_days, "failed_days": older_than_days}
        return replace(self, queue_name=queue_name, **days)

    def bounds(self, moment: datetime) -> dict[str, Any]:
        """Return what the statements of archiving need of it: before when a task must have finished to be due."""
        task_before, failed_before = (moment - timedelta(days=days) for days in (self.task_days, self.failed_days))
        return {
            "task_before": task_before,
            "failed_before": failed_before,
            "before": max(task_before, failed_before),
            "queue": self.queue_name,
        }
