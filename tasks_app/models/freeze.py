"""The emergency stop."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Freeze(models.Model):
    """While its one row exists, no task of any queue is claimed; spawns are accepted and held."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    frozen_at = models.DateTimeField(db_default=Now(), editable=False)
    frozen_by = models.CharField(max_length=200)
    reason = models.TextField()

    class Meta:
        constraints = [models.CheckConstraint(name="freeze_is_single", condition=models.Q(id=1))]
        permissions = [("freeze_everything", "Can freeze and thaw everything")]

    def __str__(self) -> str:
        return f"frozen by {self.frozen_by}: {self.reason}"
