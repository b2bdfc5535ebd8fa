"""Queues, and how many tasks of each status they hold without counting: triggers append changes, a sweep folds them."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Queue(models.Model):
    """A named line of tasks, created on first use or explicitly."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True, help_text="What the queue is for, and whom to contact.")
    paused_at = models.DateTimeField(null=True, blank=True, help_text="Paused since.")
    paused_by = models.CharField(max_length=200, blank=True)
    pause_reason = models.TextField(blank=True)
    default_timeout_sec = models.PositiveIntegerField(null=True, blank=True)
    default_max_retries = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("pause_queue", "Can pause and resume a queue")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        """Whether claims leave this queue out."""
        return self.paused_at is not None


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
