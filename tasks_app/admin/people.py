"""Accounts in the console: who manages people cannot make anybody, himself included, a superuser."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.filters import by_column
from tasks_app.admin.reading import with_refusals

admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]
    """Django's page for accounts, where only superusers touch superusers or make them."""

    list_display = ("username", "in_groups", "is_active", "is_superuser", "seen")
    list_filter = (by_column("is_active"), by_column("groups"))
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    empty_value_display = "–"
    change_list_template = "admin/tasks_app/change_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; a value of a filter that there is not is refused."""
        return with_refusals(super().changelist_view(request, extra_context))

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        rows: QuerySet[User] = super().get_queryset(request)
        return rows.prefetch_related("groups")

    @admin.display(description="groups")
    def in_groups(self, person: User) -> str:
        """The groups, which say what the person may do."""
        return ", ".join(group.name for group in person.groups.all())

    @admin.display(description="last login")
    def seen(self, person: User) -> SafeString | str:
        """How long ago."""
        return format_html("{} ago", display.ago(person.last_login)) if person.last_login else "never"

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        found = super().get_readonly_fields(request, obj)
        return found if request.user.is_superuser else (*found, "is_superuser")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


def _may_touch(request: HttpRequest, person: User | None) -> bool:
    return person is None or not person.is_superuser or request.user.is_superuser
