"""The whole system: whether it is frozen or disabled, and the operations on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from tasks_app.admin import pages
from tasks_app.admin.operating import Button, OperatingAdmin
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.engine import system_state
from tasks_app.models import Freeze, Task, TaskStatus
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.operation import Operation
from tasks_app.operations.system import current_freeze

PAGE = "admin:tasks_app_freeze_changelist"


@admin.register(Freeze)
class FreezeAdmin(OperatingAdmin, ReadOnlyAdmin):
    """There is at most one freeze and one system, so the list is their page."""

    target_kind = "system"
    selected_by_lists = False

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.system_view)
        own = [
            path(f"{each.name}/", view, {"operation": each}, name=f"tasks_app_freeze_{each.name}")
            for each in operations_on("system")
        ]
        return [*own, *ReadOnlyAdmin.get_urls(self)]

    def buttons(self, request: HttpRequest, target: Any = None) -> list[Button]:
        return [
            Button(operation=each, refusal=each.refusal(None), address=f"{each.name}/")
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
        buttons = self.buttons(request)
        if not self.has_view_or_change_permission(request) and not buttons:
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "System",
            "opts": self.opts,
            "frozen": current_freeze(),
            "enabled": system_state.is_enabled(),
            "state": system_state.current(),
            "running": Task.objects.filter(status=TaskStatus.CLAIMED).count(),
            "buttons": buttons,
        }
        return TemplateResponse(request, "admin/tasks_app/system.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The system's page; a freeze has none of its own."""
        return HttpResponseRedirect(reverse(PAGE))


def status(request: HttpRequest) -> HttpResponse:
    """The header alone, for pages that are not live themselves."""
    return pages.render(request, "admin/status.html", title="Status", context={})


pages.add(pages.Page(route="status/", name="status", view=status, permission="tasks_app.view_task"))
