"""The emergency page: what stops the whole system and what brings it back, with what each would do now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse

from tasks_app.admin import pages
from tasks_app.admin.control_room import Figure
from tasks_app.admin.operating import Button, OperatingAdmin
from tasks_app.admin.reading import COUNT_MOST, ReadOnlyAdmin
from tasks_app.models import Freeze, Queue, Task, Worker
from tasks_app.monitoring.queues import task_counts
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.operation import Counts, Operation, PreviewedOperation
from tasks_app.operations.param_fields import fields_of
from tasks_app.operations.system import SystemNow

PAGE = "admin:tasks_app_freeze_changelist"
STOP = ("freeze", "emergency-stop", "disable")
RECOVER = ("thaw", "emergency-recover", "enable")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An operation of the page, and what it would do now if everything were asked for."""

    button: Button
    lines: list[str]


@admin.register(Freeze)
class FreezeAdmin(OperatingAdmin, ReadOnlyAdmin):
    """There is at most one freeze and one system, so the list is their page."""

    target_kind = "system"
    selected_by_lists = False
    page_label = "Emergency"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.system_view)
        own = [
            path(f"{each.name}/", view, {"operation": each}, name=f"tasks_app_freeze_{each.name}")
            for each in operations_on("system")
        ]
        return [*own, *ReadOnlyAdmin.get_urls(self)]

    def buttons(self, request: HttpRequest, target: Any = None) -> list[Button]:
        return [
            Button(operation=each, refusal=each.refusal(target), address=f"{each.name}/")
            for each in self.permitted(request)
        ]

    def address_after(self, operation: Operation[Any, Any], targets: Sequence[Any], result: Any) -> str:
        return reverse("admin:index")

    def system_view(self, request: HttpRequest, operation: Operation[Any, Any]) -> HttpResponse:
        """Do one thing to the system: GET shows what and asks why, POST does it."""
        if not request.user.has_perm(operation.permission):
            raise PermissionDenied
        return self.confirm_and_act(request, operation, [], reverse(PAGE))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show what holds now, and what can be done."""
        now = SystemNow.of(None)
        buttons = {each.operation.name: each for each in self.buttons(request, now)}
        if not self.has_view_or_change_permission(request) and not buttons:
            raise PermissionDenied
        panels = pages.read_panels(
            {
                "figures": _figures,
                "stop": lambda: _choices(buttons, STOP, now),
                "recover": lambda: _choices(buttons, RECOVER, now),
            }
        )
        context = {
            "opts": self.opts,
            "frozen": now.frozen,
            "console_freeze": now.frozen,
            "enabled": settings.ABSURD_ENABLED if now.state is None else now.state.enabled,
            "state": now.state,
            "panels": panels,
            "may_operate": bool(buttons),
        }
        return pages.render(request, "admin/tasks_app/emergency.html", title="Emergency", context=context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The system's page; a freeze has none of its own."""
        return HttpResponseRedirect(reverse(PAGE))


def _choices(buttons: Mapping[str, Button], names: Sequence[str], now: SystemNow) -> list[Choice]:
    mine = [buttons[name] for name in names if name in buttons]
    return [Choice(button=each, lines=_lines(each.operation, now)) for each in mine]


def _lines(operation: Operation[Any, Any], now: SystemNow) -> list[str]:
    if not isinstance(operation, PreviewedOperation):
        return []
    everything = {each.name: True for each in fields_of(operation.params_model) if each.kind == "flag"}
    if now.frozen is None:
        everything.pop("retry_cancelled", None)  # by no stop that is known
    params = operation.params_model.parse({**everything, "reason": "not needed to look"})
    counts: Counts = operation.preview(now, params)
    return counts.lines()


def _figures() -> list[Figure]:
    """Return what there is to stop and to recover."""
    tasks, queues = reverse("admin:tasks_app_task_changelist"), Queue.objects.values_list("name", "paused_at")
    names = dict(queues)
    counted: Counter[str] = Counter()
    for (_, status), number in task_counts(names).items():
        counted[status] += number
    rows = {"stalled": Task.objects.expired_leases(), "alive": Worker.objects.live()}
    named = [found.order_by().annotate(named=Value(name)).values_list("named") for name, found in rows.items()]
    numbers = Counter(name for (name,) in named[0].union(named[1], all=True)[:COUNT_MOST])
    stalled = numbers["stalled"]
    paused = sum(moment is not None for moment in names.values())
    return [
        *(
            Figure(label=status, value=f"{counted[status]:,}", address=f"{tasks}?status={status}")
            for status in ("pending", "claimed", "failed")
        ),
        Figure(label="stalled", value=str(stalled), address=f"{tasks}?status=stalled", tone="bad" if stalled else ""),
        Figure(
            label="paused queues",
            value=f"{paused} of {len(names)}",
            address=reverse("admin:tasks_app_queue_changelist"),
            tone="bad" if paused else "",
        ),
        Figure(
            label="workers alive",
            value=str(numbers["alive"]),
            address=reverse("admin:tasks_app_worker_changelist"),
        ),
    ]


def status(request: HttpRequest) -> HttpResponse:
    """The header alone, for pages that are not live themselves."""
    return pages.render(request, "admin/status.html", title="Status", context={})


pages.add(pages.Page(route="status/", name="status", view=status, permission="tasks_app.view_task"))
