"""Who works, and on what."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.models import Task, TaskStatus, Worker
from tasks_app.worker_states import state_of


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Workers, the last to start first."""

    list_display = ("state", "label", "host", "pid", "slots", "working_on", "heartbeat", "uptime", "serves", "version")
    list_display_links = ("label",)
    ordering = ("-started_at",)
    search_fields = ("label", "host")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        claimed = Task.objects.filter(status=TaskStatus.CLAIMED).defer("result", "params").order_by("id")
        rows: QuerySet[Worker] = super().get_queryset(request)
        return rows.prefetch_related(Prefetch("tasks", claimed, to_attr="held"))

    def _held(self, worker: Worker) -> list[Task]:
        found: list[Task] = getattr(worker, "held", [])
        return found

    @admin.display(description="state")
    def state(self, worker: Worker) -> SafeString:
        """What it is doing, from its last report."""
        return display.pill(state_of(worker, timezone.now(), busy=bool(self._held(worker))))

    @admin.display(description="slots")
    def slots(self, worker: Worker) -> str:
        """Used of all."""
        return f"{len(self._held(worker))} / {worker.concurrency}"

    @admin.display(description="working on")
    def working_on(self, worker: Worker) -> SafeString:
        """Its tasks."""
        rows = ((reverse("admin:tasks_app_task_change", args=[t.task_id]), str(t)) for t in self._held(worker))
        return format_html_join(", ", '<a href="{}">{}</a>', rows)

    @admin.display(description="heartbeat")
    def heartbeat(self, worker: Worker) -> SafeString | str:
        """How long ago it reported."""
        return display.ago(worker.heartbeat_at)

    @admin.display(description="up for")
    def uptime(self, worker: Worker) -> str:
        """From its start to its last report."""
        end = worker.stopped_at or worker.heartbeat_at
        return display.duration((end - worker.started_at).total_seconds())

    @admin.display(description="queues")
    def serves(self, worker: Worker) -> str:
        """The queues it claims from."""
        return ", ".join(worker.queues)
