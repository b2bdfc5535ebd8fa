"""Room that a host keeps free for one big task."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tasks_app.models.task import short_id


class Reservation(models.Model):
    """One host waits for room for one task, and starts nothing that would take that room away."""

    host_id = models.CharField(max_length=64, unique=True)
    task_id = models.UUIDField(unique=True)
    memory_gb = models.FloatField()
    cores = models.PositiveSmallIntegerField()
    made_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.memory_gb:g} GB on {self.host_id[:8]} for {short_id(self.task_id)}"
