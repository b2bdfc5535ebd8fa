"""Queues: counts, pause and resume."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display, queue_page
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ConsoleAdmin, ConsoleList
from tasks_app.models import Queue
from tasks_app.monitoring import queues


class QueueList(ConsoleList):
    """A page of queues with their counts and the oldest of their tasks, asked for together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        names = [queue.name for queue in self.result_list]
        counts = {stats["queue_name"]: stats for stats in queues.queue_stats(names)}
        oldest_sec = queues.oldest_pending(names)
        for queue in self.result_list:
            queue.counts, queue.oldest_sec = counts[queue.name], oldest_sec.get(queue.name)


@admin.register(Queue)
class QueueAdmin(OperatingAdmin, ConsoleAdmin):
    """Queues; what a queue is for may be edited, whether it is paused changes by operations only."""

    target_kind = "queue"
    list_display = ("name", "state", "waiting", "oldest", "running", "failed", "completed", "cancelled",
                    "why_paused")  # fmt: skip
    ordering = ("name",)
    fields = ("name", "description", "default_timeout_sec", "default_max_retries", "paused_at", "paused_by",
              "pause_reason")  # fmt: skip
    change_list_template = "admin/tasks_app/queue/change_list.html"
    change_form_template = "admin/tasks_app/queue/page.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QueueList

    def get_readonly_fields(self, request: HttpRequest, obj: Queue | None = None) -> tuple[str, ...]:
        fixed = ("paused_at", "paused_by", "pause_reason")
        return fixed if obj is None else ("name", *fixed)

    def has_delete_permission(self, request: HttpRequest, obj: Queue | None = None) -> bool:
        return False

    @admin.display(description="state")
    def state(self, queue: Queue) -> SafeString:
        """Open or paused."""
        return display.pill("paused" if queue.is_paused else "open")

    def _link(self, queue: Queue, status: str) -> SafeString:
        address = reverse("admin:tasks_app_task_changelist")
        count = queue.counts[status]  # type: ignore[attr-defined]
        return format_html('<a href="{}?queue={}&status={}">{}</a>', address, queue.name, status, count)

    @admin.display(description="oldest waits")
    def oldest(self, queue: Queue) -> str:
        """How long the oldest claimable task has waited."""
        return display.duration(queue.oldest_sec)  # type: ignore[attr-defined]

    @admin.display(description="pending")
    def waiting(self, queue: Queue) -> SafeString:
        """How many are pending."""
        return self._link(queue, "pending")

    @admin.display(description="claimed")
    def running(self, queue: Queue) -> SafeString:
        """How many are claimed."""
        return self._link(queue, "claimed")

    @admin.display(description="failed")
    def failed(self, queue: Queue) -> SafeString:
        """How many have failed."""
        return self._link(queue, "failed")

    @admin.display(description="completed")
    def completed(self, queue: Queue) -> SafeString:
        """How many have completed."""
        return self._link(queue, "completed")

    @admin.display(description="cancelled")
    def cancelled(self, queue: Queue) -> SafeString:
        """How many were cancelled."""
        return self._link(queue, "cancelled")

    @admin.display(description="why paused")
    def why_paused(self, queue: Queue) -> str:
        """Who paused it and why."""
        return f"{queue.paused_by}: {queue.pause_reason}" if queue.is_paused else ""

    def key_of(self, target: Queue) -> str:
        return target.name

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page of a queue; administrators may change what it is for and its defaults."""
        queue = context.get("original")
        if queue is not None and request.method == "GET":
            context |= {"title": f"Queue {queue}", "subtitle": None, **queue_page.snapshot(request, queue)}
        return super().render_change_form(request, context, *args, **kwargs)
