"""The list of archived tasks, and the page of one; nothing here can be changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display, task_page
from tasks_app.admin.filters import Choices, EventQueueFilter, KnownValueFilter, StatusFilter, TaskNameFilter
from tasks_app.admin.pages import list_of
from tasks_app.admin.reading import ReadOnlyAdmin, id_range, with_id
from tasks_app.engine import archive
from tasks_app.models import ArchivedTask, TaskStatus
from tasks_app.models.querysets import short_id
from tasks_app.models.task import FINISHED


class FinishedFilter(KnownValueFilter):
    """By the time of its end."""

    title = "finished"
    parameter_name = "finished"
    days = {"60d": 60, "120d": 120, "365d": 365}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, f"last {days} days") for name, days in self.days.items()]

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(completed_at__gte=timezone.now() - timedelta(days=self.days[value]))


class FinishedStatusFilter(StatusFilter):
    """By the statuses that an archived task can have."""

    states = tuple(status for status in TaskStatus.values if status in FINISHED)


@admin.register(ArchivedTask)
class ArchivedTaskAdmin(ReadOnlyAdmin):
    """Archived tasks, the last spawned first."""

    list_display = ("state", "what", "queue_name", "created", "finished", "archived")
    list_display_links = None
    list_filter = (FinishedStatusFilter, EventQueueFilter, TaskNameFilter, FinishedFilter)
    search_fields = ("task_id",)
    unindexed_filters = frozenset({"task_name"})
    search_help_text = "The beginning or the end of a task id (4 digits or more), or a whole run id"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Users who may see tasks may see archived ones."""
        return request.user.has_perm("tasks_app.view_task")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ArchivedTask]:
        rows: QuerySet[ArchivedTask] = super().get_queryset(request)
        return rows.defer("task", "attempts", "events")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ArchivedTask], search_term: str
    ) -> tuple[QuerySet[ArchivedTask], bool]:
        if not search_term.strip():
            return queryset, False
        ids = id_range(search_term)
        if ids is not None and ids[0] == ids[1] and queryset.filter(run_id=ids[0]).exists():
            return queryset.filter(run_id=ids[0]), False
        found = with_id(queryset, search_term)
        return queryset.none() if found is None else found, False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> ArchivedTask | None:
        """Find an archived task by its row's key or by its task id."""
        try:
            wanted = UUID(object_id)
        except ValueError:
            found: ArchivedTask | None = super().get_object(request, object_id, from_field)
            return found
        return self.get_queryset(request).filter(task_id=wanted).first()

    def page_of(self, request: HttpRequest, row: ArchivedTask) -> HttpResponse:
        """The page of an archived task, as it was when it was a task like others."""
        return TemplateResponse(request, "admin/tasks_app/archivedtask/page.html", self._page(request, row))

    def _page(self, request: HttpRequest, row: ArchivedTask) -> dict[str, Any]:
        task = archive.rebuild(row)
        events = [
            event
            for event in archive.events_of(row.task_id)[::-1]
            if event.event_type != "progress" or task_page.wants_progress(request)
        ]
        return {
            **self.admin_site.each_context(request),
            **task_page.context_of(request, task, archive.attempts_of(row.task_id)[::-1], events),
            "back": list_of(ArchivedTask),
            "opts": self.opts,
            "archived_at": row.archived_at,
            "may_respawn": request.user.has_perm("tasks_app.respawn_task"),
        }

    @admin.display(description="status")
    def state(self, row: ArchivedTask) -> SafeString:
        """How it ended."""
        return display.pill(row.status)

    @admin.display(description="task")
    def what(self, row: ArchivedTask) -> SafeString:
        """Its name and id."""
        address = reverse("admin:tasks_app_archivedtask_change", args=[row.task_id])
        return format_html('<a href="{}">{} <code>{}</code></a>', address, row.task_name, short_id(row.task_id))

    @admin.display(description="created")
    def created(self, row: ArchivedTask) -> SafeString | str:
        """When it was spawned."""
        return display.utc(row.created_at)

    @admin.display(description="finished")
    def finished(self, row: ArchivedTask) -> SafeString | str:
        """When it ended."""
        return display.utc(row.completed_at)

    @admin.display(description="archived")
    def archived(self, row: ArchivedTask) -> SafeString | str:
        """When it left the hot tables."""
        return display.utc(row.archived_at)


def archived_page(object_id: str) -> str | None:
    """Return the address of the archived task's page, if the task id names one."""
    try:
        wanted = UUID(object_id)
    except ValueError:
        return None
    if not ArchivedTask.objects.filter(task_id=wanted).exists():
        return None
    return reverse("admin:tasks_app_archivedtask_change", args=[wanted])
