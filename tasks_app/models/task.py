"""One unit of durable work."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now
from django.utils.functional import cached_property

from tasks_app.models.querysets import ERROR_WORDS, FUTURES, ID_END, WAITINGS, TaskQuerySet, short_id
from tasks_app.models.queue import Queue, Run
from tasks_app.models.worker import Worker
from tasks_app.validation import PRIORITY_DEFAULT, PRIORITY_LEAST, PRIORITY_MOST

BY_PERSON = models.Q(created_by__startswith="user:")
"""What people spawned; an index over what keys and schedules spawn would cost every task."""


def new_task_id() -> uuid.UUID:
    """Return a new id, whose first half is the time, so that new rows stand together in the index.

    UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix time in ms, version, variant and 74 random bits.
    """
    moment_ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = (moment_ms << 16) | 0x7000 | (random >> 68)
    low = 0x8000_0000_0000_0000 | (random & 0x3FFF_FFFF_FFFF_FFFF)
    return uuid.UUID(int=(high << 64) | low)


class TaskStatus(models.TextChoices):
    """The five stored statuses; everything else an operator sees is derived from other columns."""

    PENDING = "pending"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Hold(models.IntegerChoices):
    """Bits of `Task.hold`: why a pending task may not be claimed yet. Zero means claimable."""

    FUTURE = 1
    DEPENDENCY = 2
    LIMIT = 4


class FailureClass(models.TextChoices):
    """How an attempt ended when it did not simply complete."""

    ERROR = "error"
    INVALID = "invalid"
    NO_WORK = "no_work"
    TIMEOUT = "timeout"
    IDLE_TIMEOUT = "idle_timeout"
    KILLED = "killed"
    MEMORY = "memory"
    LOST = "lost"
    DRAINED = "drained"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


class Task(models.Model):
    """One unit of durable work: a name, params, a priority, and everything the claim needs to know."""

    task_id = models.UUIDField(unique=True, default=new_task_id, editable=False)
    queue = models.ForeignKey(
        Queue, to_field="name", db_column="queue_name", on_delete=models.PROTECT, related_name="tasks", db_index=False
    )
    task_name = models.CharField(max_length=100)
    params = models.JSONField(default=dict)
    bindings = models.JSONField(
        default=dict,
        help_text='Params taken from parents\' results: {"param": {"task_id": …, "field": …}}; "task_ids": a list.',
    )
    priority = models.PositiveSmallIntegerField(default=PRIORITY_DEFAULT)
    status = models.CharField(max_length=10, choices=TaskStatus, default=TaskStatus.PENDING, editable=False)

    hold = models.PositiveSmallIntegerField(default=0, help_text="Bits that keep a pending task from being claimed.")
    rank = models.BigIntegerField(help_text="Order within the queue: the smallest is claimed first.")
    runnable_at = models.DateTimeField(help_text="The task may be claimed from this moment on.")

    timeout_sec = models.PositiveIntegerField(help_text="Longest time one attempt may take.")
    max_retries = models.PositiveSmallIntegerField()
    retry_count = models.PositiveSmallIntegerField(default=0)
    crash_count = models.PositiveSmallIntegerField(
        default=0,
        help_text="Claims that ended killed, out of memory or lost; the present claim counts until it ends otherwise.",
    )
    quarantined_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Fails if it was never claimed by then.")
    deadline_at = models.DateTimeField(
        null=True, blank=True, help_text="End of the total timeout: no attempt starts or continues after it."
    )
    idle_timeout_sec = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="An attempt is stopped after this time without progress, output or processor time.",
    )
    concurrency_key = models.CharField(
        max_length=200,
        blank=True,
        db_default="",
        help_text="Tasks with the same key share a concurrency limit.",
    )
    join_quorum = models.PositiveIntegerField(
        null=True, blank=True, help_text="Quorum: number of dependencies that must complete; empty: all."
    )
    join_deadline_at = models.DateTimeField(
        null=True, blank=True, help_text="Until then it waits for all dependencies, afterwards for the quorum."
    )
    joined_at = models.DateTimeField(null=True, blank=True, help_text="When it stopped waiting for other tasks.")

    claim_token = models.UUIDField(null=True, blank=True)
    claim_epoch = models.PositiveIntegerField(default=0, help_text="Grows by one at every claim, never reset.")
    worker = models.ForeignKey(
        Worker, null=True, blank=True, on_delete=models.PROTECT, related_name="tasks", db_index=False
    )
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_sec = models.PositiveIntegerField(default=60)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=200, blank=True)
    cancel_reason = models.TextField(blank=True)

    memory_gb = models.FloatField(default=1.0)
    cores = models.PositiveSmallIntegerField(default=1)
    disk_gb = models.FloatField(default=0, db_default=0.0)
    progress = models.FloatField(null=True, blank=True, help_text="Fraction of the running attempt done, 0 to 1.")
    progress_message = models.CharField(max_length=300, blank=True)
    progress_metrics = models.JSONField(default=dict, db_default={})

    result = models.JSONField(null=True, blank=True)
    error = models.TextField(null=True, blank=True)  # noqa: DJ001 - null is what the API returns for "no error"
    failure_class = models.CharField(max_length=20, choices=FailureClass, blank=True)
    unavailable_on = models.JSONField(
        default=dict,
        db_default={},
        help_text='Hosts that lacked what it needs: {host_id: {"host", "until", "times", "reason"}}.',
    )
    unrunnable_because = models.UUIDField(
        null=True, blank=True, help_text="The failed ancestor without which this task can never run."
    )

    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    stage = models.CharField(max_length=100, blank=True, help_text="Name of this task within its run.")
    traceparent = models.CharField(
        max_length=55,
        blank=True,
        db_default="",
        help_text="The span of its spawn, as in W3C Trace Context; empty without OpenTelemetry.",
    )
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    claimed_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects = TaskQuerySet.as_manager()

    is_new = False
    """Whether the spawn that returned this has made it."""
    depends_on: Sequence[uuid.UUID] = ()
    """The tasks it waits for; set by code that has loaded them."""
    queue_paused = False
    """Whether its queue was paused when it was spawned."""

    class Meta:
        ordering = ["-id"]
        permissions = [
            ("spawn_task", "Can spawn a task"),
            ("cancel_task", "Can cancel a task"),
            ("retry_task", "Can retry a task"),
            ("reprioritize_task", "Can change a task's priority"),
            ("requeue_task", "Can return a stalled claim to the queue"),
            ("respawn_task", "Can spawn a changed copy of a task"),
        ]
        indexes = [
            models.Index(
                fields=["queue", "rank", "id", "memory_gb", "cores", "disk_gb"],
                name="task_claimable",
                condition=models.Q(status="pending", hold=0),
            ),
            models.Index(
                fields=["runnable_at"], name="task_future", condition=models.Q(status="pending", hold__in=FUTURES)
            ),
            models.Index(fields=["id"], name="task_waiting", condition=models.Q(status="pending", hold__in=WAITINGS)),
            models.Index(
                fields=["join_deadline_at"],
                name="task_join_deadline",
                condition=models.Q(status="pending", join_deadline_at__isnull=False),
            ),
            models.Index(
                fields=["queue", "rank", "id", "memory_gb"],
                name="task_parked",
                condition=models.Q(status="pending", hold=4),
            ),
            models.Index(
                fields=["concurrency_key", "queue", "rank", "id", "memory_gb"],
                name="task_parked_by_key",
                condition=models.Q(status="pending", hold=4) & ~models.Q(concurrency_key=""),
            ),
            models.Index(
                fields=["concurrency_key", "queue"],
                name="task_keyed",
                condition=models.Q(status__in=["pending", "claimed"]) & ~models.Q(concurrency_key=""),
            ),
            models.Index(
                fields=["expires_at"],
                name="task_expiring",
                condition=models.Q(status="pending", expires_at__isnull=False),
            ),
            models.Index(
                fields=["deadline_at"],
                name="task_deadline",
                condition=models.Q(status="pending", deadline_at__isnull=False),
            ),
            models.Index(fields=["lease_until"], name="task_leased", condition=models.Q(status="claimed")),
            models.Index(fields=["worker"], name="task_holder", condition=models.Q(status="claimed")),
            models.Index(
                fields=["completed_at", "id"], name="task_finished", condition=models.Q(completed_at__isnull=False)
            ),
            models.Index(fields=["completed_at"], name="task_failed", condition=models.Q(status="failed")),
            models.Index(
                fields=["quarantined_at"], name="task_quarantined", condition=models.Q(quarantined_at__isnull=False)
            ),
            models.Index(fields=["queue", "status", "id"], name="task_queue_status"),
            models.Index(fields=["status", "id"], name="task_status"),
            models.Index(fields=["run"], name="task_of_run", condition=models.Q(run__isnull=False)),
            models.Index(ID_END, name="task_id_end"),
            models.Index(fields=["created_by", "id"], name="task_of_person", condition=BY_PERSON),
            GinIndex(
                ERROR_WORDS,
                name="task_error_words",
                gin_pending_list_limit=512,  # kB: what a search reads at most beside the index
                condition=models.Q(error__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(name="task_status_known", condition=models.Q(status__in=TaskStatus.values)),
            models.CheckConstraint(
                name="task_priority_1_to_20",
                condition=models.Q(priority__gte=PRIORITY_LEAST, priority__lte=PRIORITY_MOST),
            ),
            models.CheckConstraint(name="task_hold_known_bits", condition=models.Q(hold__gte=0, hold__lte=7)),
            models.CheckConstraint(
                name="task_claim_is_whole",
                condition=models.Q(
                    status="claimed", claim_token__isnull=False, lease_until__isnull=False, worker__isnull=False
                )
                | (~models.Q(status="claimed") & models.Q(claim_token__isnull=True, lease_until__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_finished_has_time",
                condition=models.Q(status__in=["completed", "failed", "cancelled"], completed_at__isnull=False)
                | models.Q(status__in=["pending", "claimed"], completed_at__isnull=True),
            ),
            models.UniqueConstraint(
                fields=["claim_token"], name="task_claim_token_once", condition=models.Q(claim_token__isnull=False)
            ),
            models.CheckConstraint(
                name="task_quarantine_holds", condition=~models.Q(status="pending") | models.Q(crash_count__lt=3)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_name} {short_id(self.task_id)}"

    @cached_property
    def worker_label(self) -> str | None:
        """The label of the last worker that claimed the task; `with_names()` brings it along."""
        return None if self.worker is None else self.worker.label

    @cached_property
    def run_uuid(self) -> uuid.UUID | None:
        """The id under which its run is known; `with_names()` brings it along."""
        return None if self.run is None else self.run.run_id

    @property
    def is_finished(self) -> bool:
        """Whether the task has reached a terminal status."""
        return self.status in FINISHED

    @property
    def duration_sec(self) -> float | None:
        """Seconds from the last claim to the end, when both have happened."""
        if self.claimed_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.claimed_at).total_seconds()

    @property
    def display_status(self) -> str:
        """The stored status, or the finer word that tells an operator more."""
        if self.status == TaskStatus.CLAIMED and self.cancel_requested_at:
            return "cancelling"
        if self.status == TaskStatus.FAILED and self.quarantined_at:
            return "quarantined"
        if self.status == TaskStatus.CLAIMED and self.lease_until and self.lease_until < datetime.now(UTC):
            return "stalled"
        if self.status != TaskStatus.PENDING:
            return self.status
        if self.hold & Hold.DEPENDENCY:
            return "waiting"
        if self.hold & Hold.FUTURE:
            return "retrying" if self.retry_count else "scheduled"
        return self.status


FINISHED = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
