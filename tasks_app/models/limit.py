"""Concurrency limits with their slots, and resources reserved for a task that needs many."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tasks_app.models.task import short_id


class Limit(models.Model):
    """A limit owns as many slot rows as tasks may be claimed under it."""

    class Scope(models.TextChoices):
        """What the limit counts."""

        QUEUE = "queue"
        KEY = "key"

    scope = models.CharField(max_length=5, choices=Scope)
    name = models.CharField(max_length=200, help_text="The queue's name, or the concurrency_key.")
    size = models.PositiveIntegerField(help_text="How many tasks may be claimed at once.")
    explicit = models.BooleanField(
        default=True,
        help_text="Set by an operator; other limits exist for a concurrency_key and are removed when unused.",
    )

    class Meta:
        ordering = ["scope", "name"]
        constraints = [models.UniqueConstraint(fields=["scope", "name"], name="limit_once")]
        permissions = [("set_limit", "Can set a limit")]

    def __str__(self) -> str:
        return f"{self.scope} {self.name}: {self.size}"


class LimitSlot(models.Model):
    """One slot of a limit; a claim takes a free one in the same statement."""

    limit = models.ForeignKey(Limit, on_delete=models.CASCADE, related_name="slots", db_index=False)
    number = models.PositiveIntegerField()
    task_id = models.UUIDField(null=True, blank=True, help_text="The claimed task that occupies the slot.")

    class Meta:
        ordering = ["limit", "number"]
        constraints = [
            models.UniqueConstraint(fields=["limit", "number"], name="limit_slot_once"),
            models.UniqueConstraint(fields=["task_id", "limit"], name="limit_slot_one_a_task"),
        ]

    def __str__(self) -> str:
        return f"slot {self.number} of {self.limit_id}"


class Reservation(models.Model):
    """One host waits for room for one task, and starts nothing that would take that room away."""

    host_id = models.CharField(max_length=64, unique=True)
    task_id = models.UUIDField(unique=True)
    memory_gb = models.FloatField()
    cores = models.PositiveSmallIntegerField()
    made_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.memory_gb:g} GB on {self.host_id[:8]} for {short_id(self.task_id)}"
