"""The list of tasks, and the page of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app.admin import display, pages, spawn_page, task_page, task_states
from tasks_app.admin.archive import archived_page
from tasks_app.admin.filters import (
    BandFilter,
    CreatorFilter,
    QueueFilter,
    SinceFilter,
    StatusFilter,
    TaskNameFilter,
    names_of_latest,
)  # fmt: skip
from tasks_app.admin.matching import matching_view
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.reading import ReadOnlyAdmin, latest, with_id
from tasks_app.engine import registry
from tasks_app.engine.lookup import find
from tasks_app.errors import TaskNotFound
from tasks_app.models import Queue, Task, TaskStatus
from tasks_app.models.querysets import error_has_words, short_id
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.operations.operation import Operation
from tasks_app.operations.tasks import TaskOperation

ROW_OPERATIONS = ("retry", "cancel")
TABS = (
    "pending", "claimable", "scheduled", "waiting", "limited", "retrying", "claimed", "stalled", "failed",
    "quarantined", "completed", "cancelled",
)  # fmt: skip
EMPTY = (
    "No task matches. Clear the filters, or spawn one: manage.py absurd_spawn TASK-NAME, or a whole tile: "
    "manage.py absurd_process DIRECTORY."
)


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A state above the list, and how many tasks are in it where nothing but a queue is chosen."""

    label: str
    address: str
    is_current: bool
    count: str = ""


def _tabs(request: HttpRequest) -> list[Tab]:
    """Return the tabs; each keeps the other filters."""
    query = request.GET.copy()
    chosen = query.pop("status", [""])[-1]
    query.pop("p", None)
    counted: dict[str, str] = {}
    if not set(query) - {"queue"}:
        names = [str(query["queue"])] if query.get("queue") else list(Queue.objects.values_list("name", flat=True))
        counted = task_states.counts(names)

    def address(state: str) -> str:
        changed = query.copy()
        if state:
            changed["status"] = state
        return f"?{changed.urlencode()}"

    everything = Tab(label="all", address=address(""), is_current=not chosen)
    return [
        everything,
        *(
            Tab(label=state, address=address(state), is_current=state == chosen, count=counted.get(state, ""))
            for state in TABS
        ),
    ]


def _views(request: HttpRequest) -> list[pages.Link]:
    """Return filters that are often wanted."""
    me = f"user:{request.user.get_username()}"
    queries = {
        "Failed, 24 h": {"status": "failed", "since": "24h"},
        "Stalled": {"status": "stalled"},
        "Mine": {"created_by": me},
        "Critical": {"band": "critical"},
    }
    given = {name: value for name, value in request.GET.items() if value}
    return [
        pages.Link(label=label, address=f"?{urlencode(query)}", is_current=given == query)
        for label, query in queries.items()
    ]


def _matching_address(operation: Operation[Any, Any], request: HttpRequest) -> str:
    """Return where an operation is done to all that match the filters of the list, whichever of its pages is shown."""
    query = request.GET.copy()
    query.pop("p", None)
    return f"{reverse(f'admin:tasks_app_task_matching_{operation.name}')}?{query.urlencode()}"


@admin.register(Task)
class TaskAdmin(OperatingAdmin, ReadOnlyAdmin):
    """Tasks: looked at here, changed only by operations."""

    target_kind = "task"
    list_display = ("state", "what", "place", "tries", "times")
    list_display_links = None
    list_filter = (StatusFilter, QueueFilter, TaskNameFilter, BandFilter, SinceFilter, CreatorFilter)
    list_select_related = ("worker", "run")
    search_fields = ("task_name",)
    unindexed_filters = frozenset({"task_name", "band", "since"})
    search_help_text = "Part of a task id (4 digits or more), the beginning of a task name, or words of an error"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        rows: QuerySet[Task] = super().get_queryset(request)
        return rows.defer("result", "error", "bindings").annotate(error_head=Left("error", display.ERROR_CHARS + 40))

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns, with the operations on each row for those who may act."""
        mine = [each for each in self.permitted(request) if each.name in ROW_OPERATIONS]
        if not mine:
            return self.list_display

        @admin.display(description="operation")
        def row_operations(task: Task) -> SafeString:
            query = urlencode({"next": request.get_full_path()})
            links = (
                (reverse(f"admin:tasks_app_task_{each.name}", args=[task.task_id]), query, each.label)
                for each in mine
                if not each.refusal(task)
            )
            return format_html_join(" ", '<a href="{}?{}">{}…</a>', links)

        return (*self.list_display, row_operations)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.matching_view)
        own = [
            path(f"matching/{each.name}/", view, {"operation": each}, name=f"tasks_app_task_matching_{each.name}")
            for each in self.operations()
            if isinstance(each, TaskOperation)
        ]
        return [*own, *super().get_urls()]

    def matching_view(self, request: HttpRequest, operation: TaskOperation[Any]) -> HttpResponse:
        """Do one thing to all tasks that match the filters in the address."""
        if not request.user.has_perm(operation.permission):
            raise PermissionDenied
        try:
            found = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(self._list_address())
        return matching_view(request, operation, found, self._list_address())

    def act_on_selection(self, request: HttpRequest, operation: Operation[Any, Any], chosen: Any) -> HttpResponse:
        """Do one thing to the tasks that were ticked; to all that match on a page of its own."""
        if request.POST.get("select_across") == "1":
            return HttpResponseRedirect(_matching_address(operation, request))
        return super().act_on_selection(request, operation, chosen)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list below tabs for the states and views that are often wanted."""
        given = {**(extra_context or {}), "tabs": _tabs(request), "views": _views(request), "empty": EMPTY}
        given["matching"] = [
            pages.Link(label=each.label, address=_matching_address(each, request))
            for each in self.permitted(request)
            if isinstance(each, TaskOperation)
        ]
        return super().changelist_view(request, given)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        by_id = with_id(queryset, term)
        if by_id is not None and by_id.order_by().exists():
            return by_id, False
        names = [name for name in {*registry.names(), *names_of_latest(Task)} if name.startswith(term)]
        if names:
            return latest(queryset.filter(task_name__in=names)), False
        return queryset.filter(error_has_words(term)), False

    def is_of_latest(self, request: HttpRequest) -> bool:
        """Statuses that few tasks have are looked through to the end."""
        return super().is_of_latest(request) and request.GET.get("status", "") in ("", TaskStatus.COMPLETED)

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
                part
                for part in (task.run.label if task.run else "", display.digest(task.params))
                if part and part != display.NOTHING
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

    def key_of(self, target: Task) -> UUID:
        return target.task_id

    def address_of(self, target: Task) -> str:
        return archived_page(str(target.task_id)) or reverse("admin:tasks_app_task_change", args=[target.task_id])

    def operation_view(self, request: HttpRequest, object_id: str, operation: Operation[Any, Any]) -> HttpResponse:
        """Do one thing to one task; only a copy may also be made of an archived one."""
        if not request.user.has_perm(operation.permission):
            raise PermissionDenied
        if not isinstance(operation, TaskOperation):
            old = self.find_target(request, object_id)
            return spawn_page.respawn_view(request, old, self.address_of(old))
        task = self.get_object(request, object_id)
        if task is None:
            raise Http404
        return self.confirm_and_act_on_tasks(request, operation, Task.objects.filter(pk=task.pk), self.address_of(task))

    def find_target(self, request: HttpRequest, object_id: str) -> Task:
        try:
            return find(UUID(object_id))
        except (ValueError, TaskNotFound):
            raise Http404 from None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a task; there is nothing on it to submit."""
        task = self._whole(object_id)
        if not self.has_view_permission(request, task):
            raise PermissionDenied
        if task is None and (archived := archived_page(object_id)):
            return HttpResponseRedirect(archived)
        if task is None:
            raise Http404(f"There is no task {object_id[:100]!r}.")
        return TemplateResponse(request, "admin/tasks_app/task/page.html", self._context(request, task))

    def _whole(self, object_id: str) -> Task | None:
        """Return a task with its result, by its row's key or by its task id."""
        try:
            wanted = {"pk": int(object_id)} if object_id.isdecimal() else {"task_id": UUID(object_id)}
        except ValueError:
            return None
        found: Task | None = Task.objects.select_related("worker", "run", "queue").filter(**wanted).first()
        return found

    def _context(self, request: HttpRequest, task: Task) -> dict[str, Any]:
        attempts, events = task_page.attempts_of(task), task_page.events_of(request, task)
        return {
            **self.admin_site.each_context(request),
            **task_page.context_of(request, task, attempts, events),
            "back": pages.list_of(Task),
            "opts": self.opts,
            "explanation": explain(task),
            "buttons": self.buttons(request, task),
        }
