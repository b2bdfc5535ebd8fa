"""API keys, and the state of the whole system: enabled, frozen, findings acknowledged, keys of repeated requests."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from rest_framework_api_key.models import AbstractAPIKey, APIKeyManager

SCOPES = ("read", "spawn", "operate", "admin")


def all_scopes() -> list[str]:
    """Return every scope but admin: what a key gets when nothing else is asked for."""
    return [scope for scope in SCOPES if scope != "admin"]


class ApiKeyManager(APIKeyManager["ApiKey"]):
    """Looks keys up together with their owners, who must be active for the key to open anything."""

    def get_usable_keys(self) -> models.QuerySet[ApiKey]:
        """Return the keys that are not revoked."""
        return super().get_usable_keys().select_related("owner")


class ApiKey(AbstractAPIKey):
    """A hashed key with an owner and the scopes it opens: read, spawn, operate, admin."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="api_keys"
    )
    scopes = models.JSONField(default=all_scopes)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[ApiKeyManager] = ApiKeyManager()

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"


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


class Notice(models.Model):
    """A fault of health, and whether it has been sent to people; kept until some minutes after it is gone."""

    key = models.CharField(max_length=300, unique=True, help_text="Check, state, and the row or place that has it.")
    check_name = models.CharField(max_length=50)
    state = models.CharField(max_length=10)
    message = models.TextField()
    remedy = models.TextField(blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)

    def __str__(self) -> str:
        return self.key


class LastBackup(models.Model):
    """The newest backup of this database; without the row there has been none."""

    TASK_NAME = "backup-database"
    """The task name that makes one."""
    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    made_at = models.DateTimeField(help_text="The moment that the dump brings back.")
    host = models.CharField(max_length=255)
    path = models.TextField(help_text="Of the dump, on that host.")
    size_bytes = models.BigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(name="last_backup_is_single", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return self.path


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
