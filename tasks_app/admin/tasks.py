"""The list of tasks, and the page of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Left
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display, panels, relatives, respawning
from tasks_app.admin.archive import archived_page
from tasks_app.admin.asking import verb_urls
from tasks_app.admin.confirmation import ask_or_act
from tasks_app.admin.filters import BandFilter, QueueFilter, SinceFilter, StatusFilter, TaskNameFilter
from tasks_app.admin.reading import ReadOnlyAdmin, id_range
from tasks_app.admin.verbs import VERBS, Verb
from tasks_app.engine.lookup import find
from tasks_app.errors import TaskNotFound
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.task_ids import short_id

EVENTS_SHOWN = 200


def _action(verb: Verb) -> Callable[..., HttpResponse | None]:
    @admin.action(description=f"{verb.label} selected tasks…", permissions=[verb.permission])
    def act(owner: TaskAdmin, request: HttpRequest, tasks: QuerySet[Task]) -> HttpResponse | None:
        return ask_or_act(owner, request, verb, tasks)

    act.__name__ = f"{verb.name}_tasks"
    return act


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """Tasks: looked at here, changed only by the verbs."""

    list_display = ("state", "what", "place", "tries", "times")
    list_display_links = None
    list_filter = (StatusFilter, QueueFilter, TaskNameFilter, BandFilter, SinceFilter)
    list_select_related = ("worker", "run")
    search_fields = ("task_name",)
    search_help_text = "The beginning of a task id (4 digits or more), or of a task name"
    actions = tuple(_action(verb) for verb in VERBS.values())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        rows: QuerySet[Task] = super().get_queryset(request)
        return rows.defer("result", "error", "bindings").annotate(error_head=Left("error", display.ERROR_CHARS + 40))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        if not search_term.strip():
            return queryset, False
        ids = id_range(search_term)
        if ids is not None:
            begins = Q(task_id__gte=ids[0], task_id__lte=ids[1])
            as_text = queryset.alias(id_text=Cast("task_id", TextField()))
            return as_text.filter(begins | Q(id_text__endswith=search_term.strip().lower())), False
        return queryset.filter(task_name__startswith=search_term.strip()), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in ("run__id__exact", "worker__id__exact") or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Task | None:
        """Find a task by its row's key or by its task id."""
        try:
            wanted = UUID(object_id)
        except ValueError:
            found: Task | None = super().get_object(request, object_id, from_field)
            return found
        return self.get_queryset(request).filter(task_id=wanted).first()

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the person may cancel tasks."""
        return request.user.has_perm("tasks_app.cancel_task")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the person may retry tasks."""
        return request.user.has_perm("tasks_app.retry_task")

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Whether the person may give claims back."""
        return request.user.has_perm("tasks_app.requeue_task")

    def has_reprioritize_permission(self, request: HttpRequest) -> bool:
        """Whether the person may change priorities."""
        return request.user.has_perm("tasks_app.reprioritize_task")

    def may(self, request: HttpRequest, verb: Verb) -> bool:
        """Whether the person may do it."""
        return bool(getattr(self, f"has_{verb.permission}_permission")(request))

    @admin.display(description="status")
    def state(self, task: Task) -> SafeString:
        """The pill, with how far a running task is."""
        bar: SafeString | str = ""
        if task.progress is not None:
            bar = format_html(
                '<progress max="100" value="{}" title="{}"></progress>',
                round(100 * task.progress),
                task.progress_message,
            )
        return format_html('<span data-task="{}">{}</span>{}', task.task_id, display.pill(task.display_status), bar)

    @admin.display(description="task")
    def what(self, task: Task) -> SafeString:
        """The name, the params in a line, and the first line of the last error."""
        line = display.first_line(getattr(task, "error_head", None))
        return format_html(
            '<a href="{}"><strong>{}</strong> <code class="quiet">{}</code></a><div class="digest">{}</div>{}',
            reverse("admin:tasks_app_task_change", args=[task.task_id]),
            task.task_name,
            short_id(task.task_id),
            " · ".join(
                part for part in (task.run.label if task.run else "", display.digest(task.params)) if part != "–"
            ),
            format_html('<div class="error-line">{}: {}</div>', task.failure_class, line) if line else "",
        )

    @admin.display(description="priority, queue")
    def place(self, task: Task) -> SafeString:
        """The priority with its band, and the queue."""
        return format_html('{}<div class="quiet">{}</div>', display.band(task.priority), task.queue_id)

    @admin.display(description="attempt, worker")
    def tries(self, task: Task) -> SafeString:
        """Which attempt of how many, and who made the last one."""
        most = max(task.claim_epoch, 1 + task.max_retries)
        worker = task.worker.label if task.worker else ""
        return format_html(
            '<span title="{} of {} retries used">{} / {}</span><div class="quiet">{}</div>',
            task.retry_count, task.max_retries, task.claim_epoch, most, worker,
        )  # fmt: skip

    @admin.display(description="age, took")
    def times(self, task: Task) -> SafeString:
        """Since when the task exists, and how long its last attempt took or has been running."""
        took: SafeString | str = display.duration(task.duration_sec) if task.completed_at else ""
        if task.status == "claimed":
            took = format_html("running {}", display.ago(task.claimed_at))
        return format_html('{}<div class="quiet">{}</div>', display.ago(task.created_at), took)

    def get_urls(self) -> list[Any]:
        own = verb_urls(self, VERBS.values(), self.verb_view)
        again = self.admin_site.admin_view(self.respawn_view)
        return [path("<path:object_id>/respawn/", again, name="tasks_app_task_respawn"), *own, *super().get_urls()]

    def respawn_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Spawn a changed copy: GET shows what it would be, POST spawns it."""
        if not request.user.has_perm(respawning.PERMISSION):
            raise PermissionDenied
        try:
            task = find(UUID(object_id))
        except (ValueError, TaskNotFound):
            raise Http404 from None
        return respawning.ask_or_respawn(self, request, task)

    def verb_view(self, request: HttpRequest, object_id: str, verb: Verb) -> HttpResponse:
        """Do one thing to one task: GET asks, POST acts."""
        task = self.get_object(request, object_id)
        if task is None:
            raise Http404
        if not self.may(request, verb):
            raise PermissionDenied
        page = ask_or_act(self, request, verb, Task.objects.filter(pk=task.pk))
        return page or HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=[task.task_id]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a task; there is nothing on it to submit."""
        task = self.get_object(request, object_id)
        if not self.has_view_permission(request, task):
            raise PermissionDenied
        if task is None and (archived := archived_page(object_id)):
            return HttpResponseRedirect(archived)
        if task is None:
            messages.warning(request, f"There is no task {object_id}.")
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        return TemplateResponse(request, "admin/tasks_app/task/page.html", self._page(request, task.pk))

    def _page(self, request: HttpRequest, pk: int) -> dict[str, Any]:
        task = Task.objects.select_related("worker", "run", "queue").get(pk=pk)
        events = TaskEvent.objects.filter(task_id=task.task_id).order_by("-id")[: EVENTS_SHOWN + 1]
        return {
            **self.admin_site.each_context(request),
            "title": str(task),
            "opts": self.opts,
            "task": task,
            "explanation": explain(task),
            "attempts": Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("-number"),
            "events": events[:EVENTS_SHOWN],
            "more_events": len(events) > EVENTS_SHOWN,
            **relatives.of(task),
            "panels": panels.of(task),
            "may_respawn": request.user.has_perm(respawning.PERMISSION),
            "buttons": [(verb, verb.refusal(task)) for verb in VERBS.values() if self.may(request, verb)],
            "api_path": f"/api/absurd/tasks/{task.task_id}",
        }
