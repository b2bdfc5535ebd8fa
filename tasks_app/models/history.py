"""What happened: attempts, events numbered and committed with the state they describe, and the archive of both."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tasks_app.models.querysets import ID_END, short_id
from tasks_app.models.worker import Worker

PEOPLE = ("user:", "key:", "cli:")
"""What the actor of an event begins with where it is a person, a key or a command."""
BY_PEOPLE = (
    models.Q(actor__startswith="user:") | models.Q(actor__startswith="key:") | models.Q(actor__startswith="cli:")
) & ~models.Q(event_type="spawned")
"""What people, keys and commands did besides spawning, of which there is too much to index it."""


class Attempt(models.Model):
    """One execution of a task, numbered from 1; it has its own claim token, log and directory."""

    task_id = models.UUIDField(db_index=False)
    number = models.PositiveIntegerField(help_text="The claim epoch that started it.")
    claim_token = models.UUIDField(unique=True)
    worker = models.ForeignKey(Worker, null=True, on_delete=models.PROTECT, related_name="attempts", db_index=False)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=20, blank=True, help_text="completed, or the failure class.")
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    signal = models.CharField(max_length=20, blank=True)
    log_path = models.CharField(max_length=500, blank=True)
    log_tail = models.TextField(blank=True)
    directory = models.CharField(max_length=500, blank=True)
    peak_rss_bytes = models.BigIntegerField(null=True, blank=True)
    cpu_sec = models.FloatField(null=True, blank=True)
    read_bytes = models.BigIntegerField(null=True, blank=True, help_text="Read from disks, as the kernel counts.")
    write_bytes = models.BigIntegerField(null=True, blank=True, help_text="Written to disks, as the kernel counts.")
    sampled_at = models.DateTimeField(null=True, blank=True, help_text="When its use of resources was last measured.")
    usage_series = ArrayField(
        models.IntegerField(),
        null=True,
        blank=True,
        help_text="Its memory and processor time over its life, few points.",
    )
    stop_asked_at = models.DateTimeField(null=True, blank=True, help_text="When the worker started to stop it.")
    stop_due_at = models.DateTimeField(null=True, blank=True, help_text="When its slot is free at the latest.")
    stop_reason = models.CharField(max_length=500, blank=True, db_default="")
    stack = models.TextField(
        blank=True, db_default="", help_text="The stacks of all its threads when it was stopped or crashed."
    )

    class Meta:
        ordering = ["task_id", "number"]
        indexes = [models.Index(fields=["ended_at"], name="attempt_ended", condition=models.Q(ended_at__isnull=False))]
        constraints = [models.UniqueConstraint(fields=["task_id", "number"], name="attempt_number_once")]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.task_id}"

    @property
    def wall_sec(self) -> float | None:
        """Seconds from start to end."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


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
        verbose_name = "event"
        ordering = ["id"]
        indexes = [
            models.Index(fields=["task_id", "id"], name="event_task"),
            models.Index(fields=["run_id", "id"], name="event_run", condition=models.Q(run_id__isnull=False)),
            models.Index(fields=["created_at"], name="event_of_no_task", condition=models.Q(task_id__isnull=True)),
            models.Index(fields=["created_at"], name="event_progress", condition=models.Q(event_type="progress")),
            models.Index(fields=["id"], name="event_by_people", condition=BY_PEOPLE),
            models.Index(fields=["created_at"], name="event_refused", condition=models.Q(event_type="refused")),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.event_type} {self.task_id}"


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
