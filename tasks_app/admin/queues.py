"""Queues: counts, pause and resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.reading import ConsoleAdmin
from tasks_app.admin.verbs import ReasonForm
from tasks_app.auth.keys import actor_of
from tasks_app.models import Queue
from tasks_app.monitoring import queues
from tasks_app.operations import pause


@admin.register(Queue)
class QueueAdmin(ConsoleAdmin):
    """Queues; what a queue is for may be edited, whether it is paused changes by the buttons only."""

    list_display = ("name", "state", "waiting", "running", "failed", "completed", "cancelled", "why_paused")
    ordering = ("name",)
    fields = ("name", "description", "default_timeout_sec", "default_max_retries", "paused_at", "paused_by",
              "pause_reason")  # fmt: skip
    change_form_template = "admin/tasks_app/queue/change_form.html"

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
        count = self._counts(queue)[status]
        return format_html('<a href="{}?queue={}&status={}">{}</a>', address, queue.name, status, count)

    def _counts(self, queue: Queue) -> Mapping[str, Any]:
        """Return the queue's counts, looked up once for all columns of its row."""
        if "counts_for_row" not in queue.__dict__:
            queue.__dict__["counts_for_row"] = queues.queue_stats([queue.name])[0]
        found: Mapping[str, Any] = queue.__dict__["counts_for_row"]
        return found

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

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.pause_view)
        own = [path("<path:object_id>/pause/", view, name="tasks_app_queue_pause")]
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["may_pause"] = request.user.has_perm("tasks_app.pause_queue")
        return super().render_change_form(request, context, *args, **kwargs)

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause an open queue or resume a paused one: GET asks why, POST does it."""
        queue = self.get_object(request, object_id)
        if queue is None:
            raise Http404
        if not request.user.has_perm("tasks_app.pause_queue"):
            raise PermissionDenied
        verb = "Resume" if queue.is_paused else "Pause"
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and request.POST.get("verb") == verb:
            self._act(request, queue, verb, form.cleaned_data["reason"])
            return HttpResponseRedirect(reverse("admin:tasks_app_queue_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb} the queue {queue.name}?",
            "opts": self.opts,
            "queue": queue,
            "verb": verb,
            "form": form,
        }
        return TemplateResponse(request, "admin/tasks_app/queue/pause.html", context)

    def _act(self, request: HttpRequest, queue: Queue, verb: str, reason: str) -> None:
        with transaction.atomic():
            if verb == "Pause":
                pause.pause(queue.name, actor=actor_of(request.user, None), reason=reason)
            else:
                pause.resume(queue.name, actor=actor_of(request.user, None), reason=reason)
            self.log_change(request, queue, f"{verb}d. Reason: {reason}")
        messages.success(request, f"{queue.name}: {verb.lower()}d")
