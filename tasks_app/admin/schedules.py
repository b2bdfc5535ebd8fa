"""Schedules: when each runs next, how its last spawn went, and the buttons that run and switch it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ConsoleAdmin
from tasks_app.admin.schedule_form import ScheduleForm
from tasks_app.auth.keys import actor_of
from tasks_app.engine import cron
from tasks_app.models import Schedule
from tasks_app.operations.schedules import FIELDS, save
from tasks_app.postgresql import clock

FIXED = ("upcoming", "last_run", "last_error", "created_by")


@admin.register(Schedule)
class ScheduleAdmin(OperatingAdmin, ConsoleAdmin):
    """Schedules; every change is an event."""

    target_kind = "schedule"
    form = ScheduleForm
    list_display = ("name", "state", "when", "task_name", "next_run", "last_run", "refused")
    list_filter = ("enabled",)
    search_fields = ("name",)
    ordering = ("name",)
    change_form_template = "admin/tasks_app/operated_form.html"

    def get_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        may = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        return ("name", *FIELDS, *(("reason",) if may else ()), *(FIXED if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        return ("name", *FIXED) if obj else ()

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

    @admin.display(description="next run")
    def next_run(self, schedule: Schedule) -> SafeString | str:
        """When it spawns next."""
        return display.utc(schedule.next_run_at)

    @admin.display(description="last run")
    def last_run(self, schedule: Schedule) -> SafeString | str:
        """When it spawned last, and what."""
        if schedule.last_task_id is None:
            return display.NOTHING
        address = reverse("admin:tasks_app_task_change", args=[schedule.last_task_id])
        return format_html('{} <a href="{}">task</a>', display.utc(schedule.last_run_at), address)

    @admin.display(description="last refusal")
    def refused(self, schedule: Schedule) -> SafeString | str:
        """Why the last spawn was refused, if it was."""
        line = display.first_line(schedule.last_error)
        return format_html('<span class="error-line">{}</span>', line) if line else ""

    @admin.display(description="next runs")
    def upcoming(self, schedule: Schedule) -> SafeString | str:
        """The next few moments, in UTC and as the clocks of its time zone will show."""
        if not schedule.enabled or schedule.next_run_at is None:
            return display.NOTHING
        zone = ZoneInfo(schedule.time_zone)
        moments = cron.upcoming(schedule, clock.now())
        rows = ((display.utc(each), f"{each.astimezone(zone):%a %Y-%m-%d %H:%M %Z}") for each in moments)
        return format_html_join("", '<div>{} <span class="quiet">{}</span></div>', rows)
