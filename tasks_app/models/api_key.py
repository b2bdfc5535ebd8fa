"""Keys for programs that talk to the REST API and the feed."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
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
