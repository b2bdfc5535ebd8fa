"""Queues with their counts, which triggers append to and a sweep folds; limits, reservations, schedules and runs."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now

from tasks_app.models.querysets import short_id
from tasks_app.validation import PRIORITY_DEFAULT


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


class Run(models.Model):
    """One pass through a workflow; its state is that of its tasks."""

    run_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    workflow = models.CharField(max_length=100)
    label = models.CharField(
        max_length=200, blank=True, db_index=True, help_text="What the run is for, such as an observation."
    )
    params = models.JSONField(default=dict)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]

        permissions = [("cancel_run", "Can cancel a run"), ("retry_run", "Can retry a run")]

    def __str__(self) -> str:
        return f"{self.workflow} {self.label}".strip()


class TaskDependency(models.Model):
    """An edge: the child may not be claimed before the parent has completed.

    Edges name tasks by task_id without a database constraint, so that they outlive archiving.
    """

    child_task_id = models.UUIDField()
    parent_task_id = models.UUIDField()

    class Meta:
        indexes = [models.Index(fields=["parent_task_id"], name="dependency_parent")]
        constraints = [
            models.UniqueConstraint(fields=["child_task_id", "parent_task_id"], name="dependency_once"),
            models.CheckConstraint(
                name="dependency_not_on_itself", condition=~models.Q(child_task_id=models.F("parent_task_id"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.child_task_id} after {self.parent_task_id}"
