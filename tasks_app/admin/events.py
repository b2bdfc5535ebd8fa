"""What happened, and who did it."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.filters import EventQueueFilter, EventTypeFilter, SinceFilter
from tasks_app.admin.reading import ReadOnlyAdmin, id_range
from tasks_app.models import TaskEvent
from tasks_app.models.task import short_id


@admin.register(TaskEvent)
class TaskEventAdmin(ReadOnlyAdmin):
    """Events, the last first."""

    list_display = ("id", "at", "event_type", "move", "task", "queue_name", "actor", "whence", "attempt", "why")
    list_filter = (EventTypeFilter, EventQueueFilter, SinceFilter)
    search_fields = ("actor",)
    search_help_text = "The beginning of a task id (4 digits or more), or exactly an actor such as user:alice"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskEvent], search_term: str
    ) -> tuple[QuerySet[TaskEvent], bool]:
        if not search_term.strip():
            return queryset, False
        ids = id_range(search_term)
        if ids is not None:
            return queryset.filter(task_id__gte=ids[0], task_id__lte=ids[1]), False
        return queryset.filter(actor=search_term.strip()), False

    @admin.display(description="at")
    def at(self, event: TaskEvent) -> SafeString | str:
        """When."""
        return display.utc(event.created_at)

    @admin.display(description="status")
    def move(self, event: TaskEvent) -> SafeString | str:
        """From which status to which."""
        if event.from_status and event.from_status != event.to_status:
            return format_html("{} → {}", event.from_status, display.pill(event.to_status))
        return display.pill(event.to_status) if event.to_status else ""

    @admin.display(description="task")
    def task(self, event: TaskEvent) -> SafeString | str:
        """The task, unless it is about a queue or everything."""
        if event.task_id is None:
            return ""
        address = reverse("admin:tasks_app_task_change", args=[event.task_id])
        return format_html('<a href="{}"><code>{}</code></a>', address, short_id(event.task_id))

    @admin.display(description="from")
    def whence(self, event: TaskEvent) -> str:
        """The address of the request that caused it."""
        return str(event.detail.get("address", ""))

    @admin.display(description="why")
    def why(self, event: TaskEvent) -> str:
        """The reason given."""
        return display.first_line(event.reason)
