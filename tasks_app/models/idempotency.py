"""Keys by which a repeated spawn finds the task it already made."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class IdempotencyKey(models.Model):
    """A caller's key, the fingerprint of what it asked for, and the task it got."""

    caller = models.CharField(max_length=200, db_default="", help_text="The caller that the key belongs to.")
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    task_id = models.UUIDField()
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_key_of_caller")]

    def __str__(self) -> str:
        return self.key
