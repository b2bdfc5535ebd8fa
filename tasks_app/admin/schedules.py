"""Schedules: when each runs next, what it spawns, how its last runs ended, and the buttons that run and switch it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.filters import by_column
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ConsoleAdmin
from tasks_app.admin.schedule_form import ScheduleForm
from tasks_app.auth.keys import actor_of
from tasks_app.engine import cron
from tasks_app.models import IdempotencyKey, Schedule, Task
from tasks_app.operations.schedules import FIELDS, save
from tasks_app.postgresql import clock

RUNS_SHOWN = 10


@admin.register(Schedule)
class ScheduleAdmin(OperatingAdmin, ConsoleAdmin):
    """Schedules; every change is an event."""

    target_kind = "schedule"
    form = ScheduleForm
    list_display = ("name", "state", "when", "task_name", "next_runs", "last_run", "refused")
    list_filter = (by_column("enabled"),)
    search_fields = ("name",)
    ordering = ("name",)
    change_list_template = "admin/tasks_app/schedule/change_list.html"
    change_form_template = "admin/tasks_app/schedule/page.html"

    def get_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        may = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        return ("name", *FIELDS, *(("reason",) if may else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        return ("name",) if obj else ()

    def get_form(self, request: HttpRequest, obj: Schedule | None = None, change: bool = False, **kwargs: Any) -> Any:
        # The other fields are those of the operation's params.
        kwargs["fields"] = () if obj else ("name",)
        return super().get_form(request, obj, change, **kwargs)

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        """Save the schedule with its reason."""
        obj.pk = save.act(obj.name, form.params, actor_of(request.user)).pk

    def key_of(self, target: Schedule) -> str:
        return target.name

    @admin.display(description="state")
    def state(self, schedule: Schedule) -> SafeString:
        """Enabled or disabled."""
        return display.pill("enabled" if schedule.enabled else "disabled")

    @admin.display(description="when")
    def when(self, schedule: Schedule) -> SafeString:
        """The expression and its time zone."""
        return format_html('<code>{}</code><div class="quiet">{}</div>', schedule.cron, schedule.time_zone)

    @admin.display(description="next runs")
    def next_runs(self, schedule: Schedule) -> SafeString | str:
        """The next few moments, and how far away they are."""
        rows = ((display.utc(each), display.until(each)) for each in _upcoming(schedule))
        return format_html_join("", '<div>{} <span class="quiet">{}</span></div>', rows) or display.NOTHING

    @admin.display(description="last run")
    def last_run(self, schedule: Schedule) -> SafeString | str:
        """When it spawned last, what, and what became of that."""
        if schedule.last_task_id is None:
            return display.NOTHING
        address = reverse("admin:tasks_app_task_change", args=[schedule.last_task_id])
        state = getattr(schedule, "last_task_state", None)
        return format_html(
            '<div><a href="{}">{}</a></div><div class="quiet">{} {} ago</div>',
            address,
            display.utc(schedule.last_run_at),
            display.pill(state) if state else "archived",
            display.ago(schedule.last_run_at),
        )

    @admin.display(description="last refusal")
    def refused(self, schedule: Schedule) -> SafeString | str:
        """Why the last spawn was refused, if it was."""
        line = display.first_line(schedule.last_error)
        return format_html('<span class="error-line">{}</span>', line) if line else ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        state = Task.objects.filter(task_id=OuterRef("last_task_id")).values("status")
        rows: QuerySet[Schedule] = super().get_queryset(request)
        return rows.annotate(last_task_state=Subquery(state))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a schedule; administrators may change it there."""
        schedule = self.get_object(request, object_id)
        if schedule is None or not self.has_view_or_change_permission(request, schedule):
            return super().change_view(request, object_id, form_url, extra_context)
        zone = ZoneInfo(schedule.time_zone)
        shown = {
            "title": f"Schedule {schedule}",
            "subtitle": None,
            "upcoming": [(each, f"{each.astimezone(zone):%a %Y-%m-%d %H:%M %Z}") for each in _upcoming(schedule)],
            "runs": _last_runs(schedule),
            "default_queue": settings.ABSURD_QUEUE_NAME,
        }
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})


def _upcoming(schedule: Schedule) -> list[datetime]:
    """Return the next few moments of a schedule that spawns."""
    return cron.upcoming(schedule, clock.now()) if schedule.enabled and schedule.next_run_at else []


def _last_runs(schedule: Schedule) -> list[tuple[datetime, UUID, Task | None]]:
    """Return the last moments for which it spawned and the tasks, the last first; an archived task is None.

    Of the runs by hand only the last is known.
    """
    keys = IdempotencyKey.objects.filter(caller=f"schedule:{schedule.name}").order_by("-key")
    found = {key.task_id: datetime.fromisoformat(key.key.split(":", 2)[2]) for key in keys[:RUNS_SHOWN]}
    if schedule.last_task_id and schedule.last_run_at:
        found.setdefault(schedule.last_task_id, schedule.last_run_at)
    light = Task.objects.filter(task_id__in=list(found)).defer("params", "bindings", "result", "error")
    tasks = {task.task_id: task for task in light}
    runs = sorted(found.items(), key=lambda each: each[1], reverse=True)
    return [(moment, task_id, tasks.get(task_id)) for task_id, moment in runs]
