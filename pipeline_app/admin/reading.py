"""What the program wrote is read here, never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html


class ReadOnlyAdmin(admin.ModelAdmin):
    """Lists and pages without a form."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def task_link(task_id: Any) -> str:
    """Return a link to the console's list of tasks, narrowed to one task."""
    try:
        return format_html('<a href="{}?q={}">{}</a>', reverse("admin:tasks_app_task_changelist"), task_id, task_id)
    except NoReverseMatch:
        return str(task_id)
