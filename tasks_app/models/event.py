"""What happened, numbered, committed with the state it describes."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class TaskEvent(models.Model):
    """One row a transition, refusal or request. Its id is the number that the feed replays from."""

    task_id = models.UUIDField(null=True, blank=True, help_text="Empty when it is about a queue or the whole system.")
    queue_name = models.CharField(max_length=100, blank=True)
    run_id = models.UUIDField(null=True, blank=True)
    event_type = models.CharField(max_length=30, help_text="spawned, claimed, completed, reprioritized, refused, …")
    from_status = models.CharField(max_length=10, blank=True)
    to_status = models.CharField(max_length=10, blank=True)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)
    attempt = models.PositiveIntegerField(default=0)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["task_id", "id"], name="event_task"),
            models.Index(fields=["run_id", "id"], name="event_run", condition=models.Q(run_id__isnull=False)),
            models.Index(fields=["created_at"], name="event_of_no_task", condition=models.Q(task_id__isnull=True)),
            models.Index(fields=["created_at"], name="event_progress", condition=models.Q(event_type="progress")),
            models.Index(fields=["created_at"], name="event_refused", condition=models.Q(event_type="refused")),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.event_type} {self.task_id}"
