"""Runs: how far they are, what holds them up, and the buttons that cancel and retry them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import display, run_page
from tasks_app.admin.operating import OperatingAdmin
from tasks_app.admin.operation_form import Choices
from tasks_app.admin.pages import list_of
from tasks_app.admin.reading import ConsoleList, ReadOnlyAdmin
from tasks_app.models import Run
from tasks_app.models.querysets import short_id
from tasks_app.operations.operation import Operation
from tasks_app.operations.runs import retry_run, stages_of
from tasks_app.workflows.graph import RunGraph, graph_of
from tasks_app.workflows.state import RunState, state_of, states_of


class RunList(ConsoleList):
    """A page of runs with the state of each, asked for together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        states = states_of(self.result_list)
        for run in self.result_list:
            run.state = states[run.run_id]


@admin.register(Run)
class RunAdmin(OperatingAdmin, ReadOnlyAdmin):
    """Runs, the last first."""

    target_kind = "run"
    list_display = ("what", "stands", "far", "why", "age", "created_by", "all_tasks")
    search_fields = ("label__startswith", "run_id")
    search_help_text = "The beginning of a label, such as an observation, or of a run id (4 digits or more)"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RunList

    list_display_links = ("what",)

    @admin.display(description="run")
    def what(self, run: Run) -> SafeString:
        """Its label, and its workflow."""
        return format_html('{} <span class="digest">{}</span>', run.label or short_id(run.run_id), run.workflow)

    @admin.display(description="state")
    def stands(self, run: Run) -> SafeString:
        """The state's pill."""
        return display.pill(_state(run).word)

    @admin.display(description="completed")
    def far(self, run: Run) -> SafeString:
        """How many tasks of how many have completed."""
        state = _state(run)
        failed = format_html(', <span class="error-line">{} failed</span>', state.failed) if state.failed else ""
        return format_html("{} of {}{}", state.completed, state.total, failed)

    @admin.display(description="why")
    def why(self, run: Run) -> str:
        """Why it has this state."""
        return display.first_line(_state(run).reason)

    @admin.display(description="age")
    def age(self, run: Run) -> SafeString | str:
        """Since when it exists."""
        return display.ago(run.created_at)

    @admin.display(description="tasks")
    def all_tasks(self, run: Run) -> SafeString:
        """A link to its tasks."""
        address = reverse("admin:tasks_app_task_changelist")
        return format_html('<a href="{}?run__id__exact={}">tasks</a>', address, run.pk)

    def key_of(self, target: Run) -> UUID:
        return target.run_id

    def choices_of(self, operation: Operation[Any, Any], target: Run) -> Mapping[str, Choices]:
        if operation is not retry_run:
            return {}
        only_failed = ("", "only what failed or was cancelled")
        return {"from_stage": [only_failed, *((stage, stage) for stage in stages_of(target))]}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a run; there is nothing on it to submit."""
        run = self.get_object(request, object_id)
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        if run is None:
            raise Http404(f"There is no run {object_id[:100]!r}.")
        state, graph, buttons = state_of(run), graph_of(run), self.buttons(request, run)
        context = {
            **self.admin_site.each_context(request),
            "title": str(run),
            "back": list_of(Run),
            "opts": self.opts,
            "run": run,
            "state": state,
            "others": _others(state),
            "blocked": graph.behind(state.trouble.task_id) if state.trouble else [],
            "rows": _rows(graph),
            "truncated": graph.truncated,
            "buttons": buttons,
            "may_retry": any(each.operation is retry_run and not each.refusal for each in buttons),
            **run_page.context_of(request, run, graph),
        }
        return TemplateResponse(request, "admin/tasks_app/run/page.html", context)


def _state(run: Run) -> RunState:
    state: RunState = run.state  # type: ignore[attr-defined]
    return state


def _others(state: RunState) -> list[tuple[str, int]]:
    """Return how many tasks are in each state but completed; with those that are, they add up to all."""
    counts = {
        "claimed": state.claimed - state.cancelling,
        "cancelling": state.cancelling,
        "in the queue": state.queued,
        "scheduled": state.scheduled,
        "waiting for a slot of a limit": state.limited,
        "waiting for other tasks": state.waiting,
        "failed": state.failed,
        "cancelled": state.cancelled,
    }
    return [(word, count) for word, count in counts.items() if count]


def _rows(graph: RunGraph) -> list[tuple[Any, str]]:
    """Return each task with the stages that it waits for, those of several tasks with their number."""
    stages = {node.task_id: node.stage or node.task_name for node in [*graph.nodes, *graph.outside]}
    parents: dict[UUID, Counter[str]] = defaultdict(Counter)
    for parent, child in graph.edges:
        if parent in stages:
            parents[child][stages[parent]] += 1
    return [
        (node, ", ".join(f"{stage} × {n}" if n > 1 else stage for stage, n in parents[node.task_id].items()))
        for node in graph.nodes
    ]
