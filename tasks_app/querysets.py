"""Every filter over tasks, named by the state it selects."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models.functions import Now


class TaskQuerySet(models.QuerySet[Any]):
    """Selections of tasks. The row type stays open, because the model is defined on top of this class."""

    def in_queue(self, name: str) -> Self:
        """Tasks of one queue."""
        return self.filter(queue_id=name)

    def claimable(self) -> Self:
        """Pending tasks that nothing holds back, in the order in which they are claimed."""
        return self.filter(status="pending", hold=0, queue__paused_at=None).order_by("rank", "id")

    def expired_leases(self) -> Self:
        """Claimed tasks whose worker has not renewed in time, by the database clock."""
        return self.filter(status="claimed", lease_until__lt=Now())

    def pending_with_hold(self, bit: int) -> Self:
        """Pending tasks that the given hold bit keeps back."""
        return self.annotate(bit=models.F("hold").bitand(bit)).filter(status="pending", hold__gt=0, bit__gt=0)

    def due(self) -> Self:
        """Pending tasks that are held for a moment that has come."""
        return self.pending_with_hold(1).filter(runnable_at__lte=Now())

    def overdue(self) -> Self:
        """Pending tasks that waited longer than they may."""
        return self.filter(status="pending", expires_at__lte=Now())

    def finished_before(self, moment: datetime) -> Self:
        """Tasks that reached a terminal status before the moment."""
        return self.filter(completed_at__lt=moment)
