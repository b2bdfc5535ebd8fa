"""The workers that were submitted to a batch system."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class PilotOutcome(models.TextChoices):
    """What became of a pilot whose job has ended."""

    WORKED = "worked", "its worker ran at least one task"
    IDLE = "idle", "its worker found no task to run"
    FAILED = "failed", "its job was refused, or ended before its worker reported"


class Pilot(models.Model):
    """One job of a batch system that runs a worker; `absurd_pilots` submits it and notes its end."""

    name = models.CharField(max_length=120, unique=True, help_text="Of the job, and the --worker-id of its worker.")
    group = models.CharField(max_length=100, help_text="The --name of the absurd_pilots that it belongs to.")
    native_id = models.CharField(max_length=200, blank=True, db_default="", help_text="As the batch system names it.")
    queues = models.JSONField(default=list)
    standing = models.BooleanField(help_text="It stays when there is nothing to do, for --min.")
    submitted_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=PilotOutcome, blank=True, db_default="")
    message = models.TextField(blank=True, db_default="", help_text="Why it failed, as far as its log has it.")

    class Meta:
        ordering = ["-submitted_at", "-id"]
        indexes = [models.Index(fields=["group", "-ended_at"], name="pilot_ends")]

    def __str__(self) -> str:
        return self.name
