"""State of the whole system, and which of its faults an operator has seen."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class SystemState(models.Model):
    """Whether tasks are accepted and claimed at all. Without its one row, the reader's ABSURD_ENABLED decides."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    enabled = models.BooleanField()
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=200)
    reason = models.TextField(blank=True)

    class Meta:
        constraints = [models.CheckConstraint(name="system_state_is_single", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return "enabled" if self.enabled else "disabled"


class Acknowledgement(models.Model):
    """An operator has seen a finding of health: what it reported up to that moment no longer counts."""

    finding = models.CharField(max_length=50, unique=True, help_text="Name of the check.")
    acknowledged_at = models.DateTimeField(db_default=Now())
    acknowledged_by = models.CharField(max_length=200)
    reason = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.finding} acknowledged by {self.acknowledged_by}"
