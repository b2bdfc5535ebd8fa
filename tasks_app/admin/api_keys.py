"""API keys: made here, shown once, kept as a hash."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from rest_framework_api_key.admin import APIKeyModelAdmin
from rest_framework_api_key.models import AbstractAPIKey, APIKey

from tasks_app.admin import display
from tasks_app.admin.filters import by_column
from tasks_app.admin.reading import with_refusals
from tasks_app.auth.keys import actor_of
from tasks_app.engine.events import Change, announce
from tasks_app.models import ApiKey
from tasks_app.models.system import SCOPES

MEANING = {
    "read": "read: read everything",
    "spawn": "spawn: spawn tasks",
    "operate": "operate: cancel, retry, reprioritise, pause",
    "admin": "admin: change limits, schedules, the archive and the system",
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
    list_display: Any = ("name", "prefix", "owner", "opens", "made", "used", "expires", "state")
    list_display_links = ("name",)
    sortable_by = ()
    actions = None
    empty_value_display = "–"
    list_filter = (by_column("revoked"),)  # type: ignore[assignment]  # classes are meant too
    list_select_related = ("owner",)
    raw_id_fields = ("owner",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; a value of a filter that there is not is refused."""
        return with_refusals(super().changelist_view(request, extra_context))

    def save_model(self, request: HttpRequest, obj: AbstractAPIKey, form: Any = None, change: bool = False) -> None:
        """Save the key, and leave an event about it: who, from where, and which scopes."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            revoked = change and obj.revoked and "revoked" in form.changed_data
            verb = "key_revoked" if revoked else "key_changed" if change else "key_made"
            self._announce(request, verb, cast(ApiKey, obj))

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        with transaction.atomic():
            self._announce(request, "key_deleted", obj)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            self.delete_model(request, key)

    def _announce(self, request: HttpRequest, verb: str, key: ApiKey) -> None:
        detail = {"key": key.prefix, "name": key.name, "scopes": key.scopes, "owner": str(key.owner or "")}
        announce(Change(event_type=verb, actor=actor_of(request.user), detail=detail))

    @admin.display(description="scopes")
    def opens(self, key: ApiKey) -> str:
        """What the key opens."""
        return ", ".join(key.scopes)

    @admin.display(description="created")
    def made(self, key: ApiKey) -> SafeString | str:
        """When."""
        return display.utc(key.created)

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> SafeString | str:
        """How long ago."""
        return format_html("{} ago", display.ago(key.last_used_at)) if key.last_used_at else "never"

    @admin.display(description="expires")
    def expires(self, key: ApiKey) -> SafeString | str:
        """When, if it does."""
        return display.utc(key.expiry_date) if key.expiry_date else "never"

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        """Whether it is accepted."""
        return display.pill("revoked" if key.revoked else "expired" if key.has_expired else "active")

    def get_form(self, request: Any, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs.setdefault("fields", ("name", "owner", "scopes", "expiry_date", "revoked"))
        return super().get_form(request, obj, change, **kwargs)


admin.site.unregister(APIKey)
