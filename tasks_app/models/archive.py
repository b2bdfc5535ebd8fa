"""Finished tasks that have left the hot tables."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tasks_app.models.querysets import ID_END
from tasks_app.models.task import short_id


class ArchivedTask(models.Model):
    """A task with its attempts and events, kept as they were, under the same ids.

    The columns are what a search needs; the rows themselves are JSON documents by column name, so that later changes of
    the hot tables need no rewriting here.
    """

    id = models.BigIntegerField(primary_key=True, editable=False)
    task_id = models.UUIDField(unique=True)
    queue_name = models.CharField(max_length=100)
    task_name = models.CharField(max_length=100)
    status = models.CharField(max_length=10)
    run_id = models.UUIDField(null=True)
    created_at = models.DateTimeField()
    completed_at = models.DateTimeField()
    last_event_id = models.BigIntegerField(help_text="The highest number of its events.")
    archived_at = models.DateTimeField(db_default=Now())
    task = models.JSONField()
    attempts = models.JSONField()
    events = models.JSONField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["run_id"], name="archive_run", condition=models.Q(run_id__isnull=False)),
            models.Index(fields=["last_event_id"], name="archive_last_event"),
            models.Index(fields=["completed_at"], name="archive_completed"),
            models.Index(fields=["status", "-id"], name="archive_status"),
            models.Index(fields=["queue_name", "-id"], name="archive_queue"),
            models.Index(ID_END, name="archive_id_end"),
        ]

    def __str__(self) -> str:
        return f"{self.task_name} {short_id(self.task_id)}"
