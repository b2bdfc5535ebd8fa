"""Runs and how far they are."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.models import Run, Task, TaskStatus


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, the last first."""

    list_display = ("workflow", "label", "far", "age", "created_by", "all_tasks")
    fields = ("workflow", "label", "run_id", "created_at", "created_by", "params", "stages")
    readonly_fields = ("stages",)
    search_fields = ("label",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        rows: QuerySet[Run] = super().get_queryset(request)
        return rows.annotate(
            n_tasks=Count("tasks"),
            n_completed=Count("tasks", filter=Q(tasks__status=TaskStatus.COMPLETED)),
            n_failed=Count("tasks", filter=Q(tasks__status=TaskStatus.FAILED)),
        )

    @admin.display(description="completed")
    def far(self, run: Run) -> SafeString:
        """How many tasks of how many have completed."""
        n_failed: int = run.n_failed  # type: ignore[attr-defined]
        failed = format_html(" {} {}", n_failed, display.pill("failed")) if n_failed else ""
        return format_html("{} / {}{}", run.n_completed, run.n_tasks, failed)  # type: ignore[attr-defined]

    @admin.display(description="age")
    def age(self, run: Run) -> SafeString | str:
        """Since when it exists."""
        return display.ago(run.created_at)

    @admin.display(description="tasks")
    def all_tasks(self, run: Run) -> SafeString:
        """A link to its tasks."""
        address = reverse("admin:tasks_app_task_changelist")
        return format_html('<a href="{}?run__id__exact={}">tasks</a>', address, run.pk)

    @admin.display(description="tasks")
    def stages(self, run: Run) -> SafeString:
        """Its tasks in the order of their making."""
        tasks = Task.objects.filter(run=run).defer("result", "params").order_by("id")[:500]
        rows = (
            (
                display.pill(task.display_status),
                reverse("admin:tasks_app_task_change", args=[task.task_id]),
                task.stage or task.task_name,
                display.duration(task.duration_sec),
                display.first_line(task.error),
            )
            for task in tasks
        )
        return format_html(
            "<table><tr><th>status</th><th>stage</th><th>took</th><th>error</th></tr>{}</table>",
            format_html_join("", '<tr><td>{}</td><td><a href="{}">{}</a></td><td>{}</td><td>{}</td></tr>', rows),
        )
