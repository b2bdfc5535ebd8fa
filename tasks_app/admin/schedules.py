"""Schedules: when each runs next, how its last spawn went, and the buttons that run and switch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.asking import Question, ask_and_act, verb_urls
from tasks_app.admin.reading import ConsoleAdmin
from tasks_app.admin.schedule_form import ScheduleForm
from tasks_app.auth.keys import actor_of
from tasks_app.engine import cron
from tasks_app.models import Schedule
from tasks_app.operations.schedules import FIELDS, delete, run_now, save, set_enabled
from tasks_app.postgresql import clock

PERMISSION = "tasks_app.run_schedule"
FIXED = ("upcoming", "last_run", "last_error", "created_by")


@dataclass(frozen=True, kw_only=True)
class ScheduleVerb:
    """Something that an operator can do to a schedule."""

    name: str
    label: str
    warning: str
    act: Callable[[str, str, str], str]
    """Gets the schedule's name, the actor and the reason; returns what it did."""


def _run(name: str, actor: str, reason: str) -> str:
    task = run_now(name, actor=actor, reason=reason)
    return f"{name}: spawned {task}"


def _switch(enabled: bool) -> Callable[[str, str, str], str]:
    def act(name: str, actor: str, reason: str) -> str:
        set_enabled(name, enabled, actor=actor, reason=reason)
        return f"{name}: {'enabled' if enabled else 'disabled'}"

    return act


VERBS = (
    ScheduleVerb(
        name="run", label="Run now", warning="Its task is spawned at once; its next run does not change.", act=_run
    ),
    ScheduleVerb(
        name="enable",
        label="Enable",
        warning="It spawns again from its next run on; runs missed while it was disabled are not caught up.",
        act=_switch(True),
    ),
    ScheduleVerb(name="disable", label="Disable", warning="It spawns nothing until it is enabled.", act=_switch(False)),
)


def _action(verb: ScheduleVerb) -> Callable[..., HttpResponse | None]:
    @admin.action(description=f"{verb.label}: selected schedules…", permissions=["run"])
    def act(owner: ScheduleAdmin, request: HttpRequest, chosen: QuerySet[Schedule]) -> HttpResponse | None:
        hidden = [("action", f"{verb.name}_schedules"), *((ACTION_CHECKBOX_NAME, each.pk) for each in chosen)]
        return owner.do(request, verb, list(chosen.order_by("name")), hidden)

    act.__name__ = f"{verb.name}_schedules"
    return act


@admin.register(Schedule)
class ScheduleAdmin(ConsoleAdmin):
    """Schedules; every change goes through the actions and is an event."""

    form = ScheduleForm
    list_display = ("name", "state", "when", "task_name", "next_run", "last_run", "refused")
    list_filter = ("enabled",)
    search_fields = ("name",)
    ordering = ("name",)
    actions = tuple(_action(verb) for verb in VERBS)
    change_form_template = "admin/tasks_app/schedule/change_form.html"

    def get_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        may = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        return ("name", *FIELDS, *(("reason",) if may else ()), *(FIXED if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        return ("name", *FIXED) if obj else ()

    def get_form(self, request: HttpRequest, obj: Schedule | None = None, change: bool = False, **kwargs: Any) -> Any:
        # The reason is the form's own; Django would look for it on the model.
        kwargs["fields"] = FIELDS if obj else ("name", *FIELDS)
        return super().get_form(request, obj, change, **kwargs)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found = super().get_actions(request)
        # Deleting asks for a reason, on the page of each.
        found.pop("delete_selected", None)
        return found

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the person may run and switch schedules."""
        return request.user.has_perm(PERMISSION)

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        """Save the schedule as the actions do."""
        values = {name: form.cleaned_data[name] for name in FIELDS}
        actor = actor_of(request.user, None)
        obj.pk = save(obj.name, values, actor=actor, reason=form.cleaned_data["reason"]).pk

    def get_urls(self) -> list[Any]:
        return [*verb_urls(self, VERBS, self.verb_view), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["verbs"] = VERBS if self.has_run_permission(request) else ()
        return super().render_change_form(request, context, *args, **kwargs)

    def verb_view(self, request: HttpRequest, object_id: str, verb: ScheduleVerb) -> HttpResponse:
        """Do one thing to one schedule: GET asks, POST acts."""
        if not self.has_run_permission(request):
            raise PermissionDenied
        return self.do(request, verb, [self._found(request, object_id)], ())

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Delete the schedule as the actions do: GET asks why, POST does it."""
        schedule = self._found(request, object_id)
        if not self.has_delete_permission(request, schedule):
            raise PermissionDenied

        def act(name: str, actor: str, reason: str) -> str:
            delete(name, actor=actor, reason=reason)
            return f"{name}: deleted"

        warning = "It spawns nothing any more; tasks already spawned are kept."
        return self.do(request, ScheduleVerb(name="delete", label="Delete", warning=warning, act=act), [schedule], ())

    def do(self, request: HttpRequest, verb: ScheduleVerb, chosen: list[Schedule], hidden: Any) -> HttpResponse:
        """Ask why, then do it to all of them or, if one refuses, to none."""

        def act(actor: str, reason: str) -> str:
            told = [verb.act(schedule.name, actor, reason) for schedule in chosen]
            for schedule in chosen:
                self.log_change(request, schedule, f"{verb.label}. Reason: {reason}")
            return "; ".join(told)

        names = ", ".join(schedule.name for schedule in chosen)
        question = Question(
            title=f"{verb.label}: {names}?",
            warning=verb.warning,
            submit=f"{verb.label}: {names}" if len(chosen) == 1 else f"{verb.label}: {len(chosen)} schedules",
            back=reverse("admin:tasks_app_schedule_changelist"),
            crumb="Schedules",
            dangerous=verb.name == "delete",
            hidden=hidden,
        )
        return ask_and_act(self, request, question, act)

    def _found(self, request: HttpRequest, object_id: str) -> Schedule:
        schedule: Schedule | None = self.get_object(request, object_id)
        if schedule is None:
            raise Http404
        return schedule

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
