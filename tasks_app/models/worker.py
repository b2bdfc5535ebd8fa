"""A process that claims tasks."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Self

from django.db import models
from django.db.models.functions import Now

from tasks_app.postgresql.clock import DatabaseNow

STALE_AFTER_HEARTBEATS = 3
"""A worker is live until its last report is older than this number of its heartbeats."""
LOST_AFTER_HEARTBEATS = 10
"""A worker is lost when its last report is older."""
LIVE_SQL = (
    f"(stopped_at IS NULL AND heartbeat_at > absurd_now() - {STALE_AFTER_HEARTBEATS} * heartbeat_sec * interval '1 s')"
)
"""SQL: the condition of `WorkerQuerySet.live`, for statements in which only the worker's table has these columns."""


class WorkerQuerySet(models.QuerySet[Any]):
    """Selections of workers. The row type stays open, because the model is defined on top of this class."""

    def live(self) -> Self:
        """Workers that have not stopped and have reported lately, by the database's clock."""
        return self._within(STALE_AFTER_HEARTBEATS)

    def not_gone(self) -> Self:
        """Workers that are neither stopped nor lost: those that are live or may become so again."""
        return self._within(LOST_AFTER_HEARTBEATS)

    def _within(self, heartbeats: int) -> Self:
        silence = models.ExpressionWrapper(
            models.F("heartbeat_sec") * models.Value(timedelta(seconds=heartbeats)), models.DurationField()
        )
        return self.filter(stopped_at=None, heartbeat_at__gt=DatabaseNow() - silence)

    def serving(self, queue: str) -> Self:
        """Workers that claim tasks of a queue."""
        return self.filter(queues__contains=[queue])


class WorkerOrder(models.TextChoices):
    """What an operator may ask of a worker. An empty order asks it to work."""

    PAUSE = "pause"
    DRAIN = "drain"
    RECYCLE = "recycle"


class Worker(models.Model):
    """One boot of a worker process; the given worker id is only a label, so that a restart hides no dead one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    label = models.CharField(max_length=200, help_text="Its --worker-id.")
    host = models.CharField(max_length=255)
    host_id = models.CharField(max_length=64, help_text="Machine id and boot id: the same for all workers of one host.")
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=50, blank=True)
    queues = models.JSONField(default=list)
    task_names = models.JSONField(default=list, db_default=[], help_text="The only task names that it claims.")
    missing_roots = models.JSONField(
        default=list,
        db_default=[],
        help_text="Data roots that are not mounted on its host; while there are any it claims nothing.",
    )
    data_roots = models.JSONField(default=list, db_default=[], help_text="ABSURD_DATA_ROOTS of its host.")
    files_address = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="Where it serves the logs and products of its host.",
    )
    concurrency = models.PositiveSmallIntegerField()
    memory_gb = models.FloatField(default=0)
    heartbeat_sec = models.PositiveSmallIntegerField(default=10, help_text="Interval of its heartbeats.")
    cores = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Cores of its host for tasks.")
    disk_gb = models.FloatField(default=0, db_default=0.0, help_text="Free space where it writes products.")
    host_memory_bytes = models.BigIntegerField(default=0, db_default=0)
    host_free_bytes = models.BigIntegerField(default=0, db_default=0, help_text="Memory of its host that is available.")
    host_cpu_busy = models.FloatField(
        null=True, blank=True, help_text="Share of its host's processor time in use, 0 to 1."
    )
    rss_bytes = models.BigIntegerField(default=0, db_default=0)
    clock_skew_sec = models.FloatField(null=True, blank=True, help_text="Its host's clock minus the database's.")
    ordered = models.CharField(max_length=10, choices=WorkerOrder, blank=True, db_default="")
    ordered_by = models.CharField(max_length=200, blank=True, db_default="")
    ordered_at = models.DateTimeField(null=True, blank=True)
    order_reason = models.TextField(blank=True, db_default="")
    draining = models.BooleanField(
        default=False, help_text="It claims no more tasks and exits when its running tasks end."
    )
    stop_signal_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it got a stop signal; tasks that it does not return itself use up no retry.",
    )
    drains_at = models.DateTimeField(
        null=True, blank=True, help_text="When its time limit makes it drain; it claims nothing that may take longer."
    )
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True, blank=True)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]
        permissions = [("order_worker", "Can pause, drain, recycle and resume a worker")]
        indexes = [models.Index(fields=["heartbeat_at"], name="worker_live", condition=models.Q(stopped_at=None))]

    def __str__(self) -> str:
        return f"{self.label}@{self.host}"
