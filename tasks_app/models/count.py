"""Counts of tasks that need no counting: triggers append changes, a sweep folds them."""

from __future__ import annotations

from django.db import models


class QueueCount(models.Model):
    """How many tasks of a queue have a status, as far as the changes have been folded in."""

    queue_name = models.CharField(max_length=100)
    status = models.CharField(max_length=10)
    count = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["queue_name", "status"], name="queue_count_once")]

    def __str__(self) -> str:
        return f"{self.queue_name} {self.status}: {self.count}"


class CountDelta(models.Model):
    """A change of a count that has not been folded in. Written by triggers on the task table only."""

    queue_name = models.CharField(max_length=100)
    status = models.CharField(max_length=10)
    delta = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.queue_name} {self.status}: {self.delta:+d}"
