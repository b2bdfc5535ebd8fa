"""What the pages of the pipeline share."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


def task_link(task_id: UUID) -> SafeString:
    """Return a link to a task's page."""
    return format_html('<a href="{}">{}</a>', reverse("admin:tasks_app_task_change", args=[task_id]), task_id)
