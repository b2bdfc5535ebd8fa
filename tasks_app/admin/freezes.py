"""The emergency stop: one page that freezes everything, or thaws it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tasks_app.admin.asking import Question, ask, is_confirmed
from tasks_app.admin.reading import ReadOnlyAdmin
from tasks_app.admin.verbs import ReasonForm
from tasks_app.auth.keys import actor_of
from tasks_app.errors import AbsurdError
from tasks_app.models import Freeze, Task, TaskStatus
from tasks_app.operations.freeze import current, freeze, thaw

PERMISSION = "tasks_app.freeze_everything"
PAGE = "admin:tasks_app_freeze_changelist"


@admin.register(Freeze)
class FreezeAdmin(ReadOnlyAdmin):
    """There is at most one freeze, so its list is the switch."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Say what holds now and, to those who may, offer the opposite: GET asks, POST acts."""
        if not self.has_view_or_change_permission(request) and not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        may = request.user.has_perm(PERMISSION)
        if request.method == "POST" and not may:
            raise PermissionDenied
        frozen = current()
        form = ReasonForm(request.POST if is_confirmed(request) else None)
        if is_confirmed(request) and form.is_valid():
            return self._act(request, str(request.POST.get("verb")), form.cleaned_data["reason"])
        return ask(self, request, _question(frozen), form if may else None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The switch; a freeze has no page of its own."""
        return HttpResponseRedirect(reverse(PAGE))

    def _act(self, request: HttpRequest, verb: str, reason: str) -> HttpResponse:
        """Do what the page offered; if somebody was quicker, say so instead of doing the opposite."""
        actor = actor_of(request.user, None)
        try:
            with transaction.atomic():
                if verb == "freeze":
                    self.log_change(request, freeze(actor=actor, reason=reason), f"Frozen. Reason: {reason}")
                elif verb == "thaw":
                    was = current()
                    thaw(actor=actor, reason=reason)
                    self.log_change(request, was, f"Thawed. Reason: {reason}")
                else:
                    raise PermissionDenied
            messages.success(request, "Everything is frozen." if verb == "freeze" else "Tasks are claimed again.")
        except AbsurdError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:index"))


def _question(frozen: Freeze | None) -> Question:
    running = Task.objects.filter(status=TaskStatus.CLAIMED).count()
    if frozen is None:
        warning = (
            "No task of any queue will be claimed until it is thawed. "
            f"{running} claimed task{'' if running == 1 else 's'} will continue; new tasks stay pending."
        )
        title, submit, verb = "Freeze everything?", "Freeze everything", "freeze"
    else:
        warning = (
            f"Frozen {_when(frozen)} by {frozen.frozen_by}: {frozen.reason}. After thawing, tasks are claimed again."
        )
        title, submit, verb = "Thaw everything?", "Thaw everything", "thaw"
    return Question(
        title=title,
        warning=warning,
        submit=submit,
        back=reverse("admin:index"),
        crumb="Emergency stop",
        dangerous=frozen is None,
        hidden=(("verb", verb),),
    )


def _when(frozen: Freeze) -> str:
    return f"{frozen.frozen_at:%Y-%m-%d %H:%M:%S}Z"
