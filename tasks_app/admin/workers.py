"""Who works, and on what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display
from tasks_app.admin.asking import verb_urls
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.admin.worker_verbs import PERMISSION, VERBS, WorkerVerb, ask_and_order
from tasks_app.models import Attempt, Task, TaskEvent, TaskStatus, Worker
from tasks_app.monitoring.workers import report_on, state_of

EVENTS_SHOWN = 20


def _action(verb: WorkerVerb) -> Callable[..., HttpResponse | None]:
    @admin.action(description=f"{verb.label}: selected workers…", permissions=["order"])
    def act(owner: WorkerAdmin, request: HttpRequest, chosen: QuerySet[Worker]) -> HttpResponse | None:
        hidden = [("action", f"{verb.name}_workers"), *((ACTION_CHECKBOX_NAME, each.pk) for each in chosen)]
        return ask_and_order(owner, request, verb, list(chosen.order_by("label")), hidden)

    act.__name__ = f"{verb.name}_workers"
    return act


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Workers, the last to start first."""

    list_display = ("state", "label", "host", "pid", "slots", "working_on", "heartbeat", "uptime", "serves", "version")
    list_display_links = ("label",)
    ordering = ("-started_at",)
    search_fields = ("label", "host")
    actions = tuple(_action(verb) for verb in VERBS)

    def has_order_permission(self, request: HttpRequest) -> bool:
        """Whether the person may order workers."""
        return request.user.has_perm(PERMISSION)

    def get_urls(self) -> list[Any]:
        return [*verb_urls(self, VERBS, self.verb_view), *super().get_urls()]

    def verb_view(self, request: HttpRequest, object_id: str, verb: WorkerVerb) -> HttpResponse:
        """Give one order to one worker: GET asks, POST orders."""
        if not self.has_order_permission(request):
            raise PermissionDenied
        return ask_and_order(self, request, verb, [self._found(request, object_id)])

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a worker: how it is, what it was ordered, what it runs and ran."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        worker = self._found(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": str(worker),
            "opts": self.opts,
            "worker": worker,
            "report": report_on([worker], timezone.now())[0],
            "buttons": [(verb, verb.refusal(worker)) for verb in VERBS] if self.has_order_permission(request) else [],
            "running": _running(worker),
            "events": _events(worker),
        }
        return TemplateResponse(request, "admin/tasks_app/worker/page.html", context)

    def _found(self, request: HttpRequest, object_id: str) -> Worker:
        worker: Worker | None = self.get_object(request, object_id)
        if worker is None:
            raise Http404
        return worker

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
