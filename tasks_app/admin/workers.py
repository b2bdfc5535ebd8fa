"""Who works, and on what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.pages import list_of
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.admin.worker_lanes import slots_of
from tasks_app.engine import registry
from tasks_app.models import Attempt, Task, TaskEvent, TaskStatus, Worker
from tasks_app.monitoring.workers import replaced, report_on_claims, state_of

EVENTS_SHOWN = 20


class WorkerList(ChangeList):
    """A page of workers; those in whose place a later one works are marked."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        gone = replaced(self.result_list, timezone.now())
        for worker in self.result_list:
            worker.is_replaced = worker.pk in gone


@admin.register(Worker)
class WorkerAdmin(OperatingAdmin, ReadOnlyAdmin):
    """Workers, the last to start first."""

    target_kind = "worker"
    list_display = ("state", "label", "host", "pid", "slots", "working_on", "heartbeat", "uptime", "serves", "version")
    list_display_links = ("label",)
    ordering = ("-started_at",)
    search_fields = ("label", "host")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return WorkerList

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a worker: how it is, what it was ordered, what it runs and ran."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        worker = self.find_target(request, object_id)
        running = _running(worker)
        known = set(worker.task_names)
        context = {
            **self.admin_site.each_context(request),
            "title": str(worker),
            "back": list_of(Worker),
            "opts": self.opts,
            "worker": worker,
            "report": report_on_claims([worker], [task for task, _ in running], timezone.now())[0],
            "buttons": self.buttons(request, worker),
            "running": running,
            "slots": slots_of(worker, [attempt for _, attempt in running if attempt is not None]),
            # A worker of an earlier version does not report the names that it knows.
            "unknown": [name for name in registry.names() if name not in known] if known else [],
            "events": _events(worker),
        }
        return TemplateResponse(request, "admin/tasks_app/worker/page.html", context)

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
        if getattr(worker, "is_replaced", False):
            return display.pill("replaced")
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

    @admin.display(description="last report")
    def heartbeat(self, worker: Worker) -> SafeString | str:
        """How long ago it reported."""
        return display.ago(worker.heartbeat_at)

    @admin.display(description="up for")
    def uptime(self, worker: Worker) -> str:
        """From its start to its last report."""
        end = worker.stopped_at or worker.heartbeat_at
        return display.duration(max(0.0, (end - worker.started_at).total_seconds()))

    @admin.display(description="queues")
    def serves(self, worker: Worker) -> str:
        """The queues it claims from."""
        return ", ".join(worker.queues)


def _running(worker: Worker) -> list[tuple[Task, Attempt | None]]:
    """Return the tasks that the worker holds, each with its attempt."""
    tasks = list(Task.objects.filter(worker=worker, status=TaskStatus.CLAIMED).defer("result", "params").order_by("id"))
    attempts = Attempt.objects.filter(claim_token__in=[task.claim_token for task in tasks])
    of_claim = {attempt.claim_token: attempt for attempt in attempts}
    return [(task, of_claim.get(task.claim_token)) for task in tasks]


def _events(worker: Worker) -> QuerySet[TaskEvent]:
    """Return what happened to the worker, the last first."""
    since = worker.started_at - timedelta(minutes=1)
    of_workers = TaskEvent.objects.filter(task_id=None, created_at__gte=since, event_type__startswith="worker_")
    return of_workers.filter(detail__worker__boot_id=str(worker.pk)).order_by("-created_at", "-id")[:EVENTS_SHOWN]
