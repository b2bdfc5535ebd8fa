"""A process that claims tasks."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now

STALE_AFTER_HEARTBEATS = 3
"""A worker whose last report is older than so many of its heartbeats counts as dead."""


class WorkerOrder(models.TextChoices):
    """What an operator may ask of a worker. An empty order asks it to work."""

    PAUSE = "pause"
    DRAIN = "drain"
    RECYCLE = "recycle"


class Worker(models.Model):
    """One boot of a worker process; the given worker id is only a label, so that a restart hides no dead one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    label = models.CharField(max_length=200, help_text="The --worker-id it was started with.")
    host = models.CharField(max_length=255)
    host_id = models.CharField(max_length=64, help_text="Machine id and boot id: the same for all workers of one host.")
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=50, blank=True)
    queues = models.JSONField(default=list)
    task_names = models.JSONField(default=list, db_default=[], help_text="The only task names that it claims.")
    missing_roots = models.JSONField(
        default=list, db_default=[], help_text="Data roots that it does not see; while there are any it claims nothing."
    )
    concurrency = models.PositiveSmallIntegerField()
    memory_gb = models.FloatField(default=0)
    heartbeat_sec = models.PositiveSmallIntegerField(default=10, help_text="How often it promises to report.")
    cores = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Cores of its host for tasks.")
    disk_gb = models.FloatField(default=0, db_default=0.0, help_text="Free space where it writes products.")
    rss_bytes = models.BigIntegerField(default=0, db_default=0)
    clock_skew_sec = models.FloatField(null=True, blank=True, help_text="Its host's clock minus the database's.")
    ordered = models.CharField(max_length=10, choices=WorkerOrder, blank=True, db_default="")
    ordered_by = models.CharField(max_length=200, blank=True, db_default="")
    ordered_at = models.DateTimeField(null=True, blank=True)
    order_reason = models.TextField(blank=True, db_default="")
    draining = models.BooleanField(default=False, help_text="It claims no more and ends after its tasks.")
    stop_signal_at = models.DateTimeField(
        null=True, blank=True, help_text="When it got a stop signal: what it does not return itself costs no retry."
    )
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        permissions = [("order_worker", "Can pause, drain, recycle and resume a worker")]
        indexes = [models.Index(fields=["heartbeat_at"], name="worker_live", condition=models.Q(stopped_at=None))]

    def __str__(self) -> str:
        return f"{self.label}@{self.host}"
