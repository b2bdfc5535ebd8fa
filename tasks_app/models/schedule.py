"""Tasks that are spawned by the clock."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tasks_app.priority import PRIORITY_DEFAULT


class CatchUp(models.TextChoices):
    """What happens to the moments that passed while nobody was there to spawn."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class Schedule(models.Model):
    """A task spawned at each moment of a cron expression in a time zone.

    What may be written is described by the params of the operation that saves it.
    """

    is_new = False
    """Whether the operation that returns it has created it."""
    name = models.CharField(max_length=100, unique=True)
    cron = models.CharField(max_length=100)
    time_zone = models.CharField(max_length=50, default="UTC")
    task_name = models.CharField(max_length=100)
    params = models.JSONField(default=dict, blank=True)
    queue_name = models.CharField(max_length=100, blank=True)
    priority = models.PositiveSmallIntegerField(default=PRIORITY_DEFAULT)
    enabled = models.BooleanField(default=True)
    catch_up = models.CharField(max_length=4, choices=CatchUp, default=CatchUp.ONE)
    jitter_sec = models.PositiveIntegerField(default=0)
    next_run_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_run_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_task_id = models.UUIDField(null=True, blank=True, editable=False)
    last_error = models.TextField(blank=True, editable=False, help_text="Why the last spawn was refused.")
    created_by = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("run_schedule", "Can run, enable and disable a schedule")]
        indexes = [models.Index(fields=["next_run_at"], name="schedule_due", condition=models.Q(enabled=True))]

    def __str__(self) -> str:
        return self.name
