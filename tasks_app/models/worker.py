"""A process that claims tasks."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now


class Worker(models.Model):
    """One boot of a worker process; the given worker id is only a label, so that a restart hides no dead one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    label = models.CharField(max_length=200, help_text="The --worker-id it was started with.")
    host = models.CharField(max_length=255)
    host_id = models.CharField(max_length=64, help_text="Machine id and boot id: the same for all workers of one host.")
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=50, blank=True)
    queues = models.JSONField(default=list)
    concurrency = models.PositiveSmallIntegerField()
    memory_gb = models.FloatField(default=0)
    heartbeat_sec = models.PositiveSmallIntegerField(default=10, help_text="How often it promises to report.")
    draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["heartbeat_at"], name="worker_live", condition=models.Q(stopped_at=None))]

    def __str__(self) -> str:
        return f"{self.label}@{self.host}"
