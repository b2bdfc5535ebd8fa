"""API keys: made here, shown once, kept as a hash."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from rest_framework_api_key.admin import APIKeyModelAdmin
from rest_framework_api_key.models import APIKey

from tasks_app.models import ApiKey
from tasks_app.models.api_key import SCOPES

MEANING = {
    "read": "read: look at everything",
    "spawn": "spawn: put tasks into queues",
    "operate": "operate: cancel, retry, reprioritise, pause",
    "admin": "admin: limits, schedules, archive, and what else changes how the system works",
}


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A key's owner and scopes."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, MEANING[scope]) for scope in SCOPES], widget=forms.CheckboxSelectMultiple, initial=["read"]
    )

    class Meta:
        model = ApiKey
        fields = ("name", "owner", "scopes", "expiry_date", "revoked")


@admin.register(ApiKey)
class ApiKeyAdmin(APIKeyModelAdmin):
    """Keys; a lost one is revoked and replaced, never read back."""

    form = ApiKeyForm
    list_display: Any = ("prefix", "name", "owner", "opens", "created", "expiry_date", "revoked")
    list_filter = ("revoked",)
    list_select_related = ("owner",)
    raw_id_fields = ("owner",)

    @admin.display(description="scopes")
    def opens(self, key: ApiKey) -> str:
        """What the key opens."""
        return ", ".join(key.scopes)

    def get_form(self, request: Any, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs.setdefault("fields", ("name", "owner", "scopes", "expiry_date", "revoked"))
        return super().get_form(request, obj, change, **kwargs)


admin.site.unregister(APIKey)
