"""The page that spawns a changed copy of a task."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tasks_app.admin.asking import Question, ask, is_confirmed
from tasks_app.admin.option_fields import form_fields
from tasks_app.admin.verbs import ReasonForm
from tasks_app.auth.keys import actor_of
from tasks_app.engine.bindings import with_bindings
from tasks_app.engine.options import PARTS
from tasks_app.errors import AbsurdError
from tasks_app.models import Task
from tasks_app.operations.respawn import respawn

PERMISSION = "tasks_app.respawn_task"


class RespawnForm(ReasonForm):
    """What is different in the copy, and why."""

    field_order = (*PARTS, "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.update(form_fields(PARTS))
        self.order_fields(self.field_order)

    @property
    def options(self) -> dict[str, Any]:
        """The options that were chosen; what was left empty, the queue and the task name decide."""
        return {name: self.cleaned_data[name] for name in PARTS if self.cleaned_data[name] is not None}


def ask_or_respawn(owner: admin.ModelAdmin[Any], request: HttpRequest, task: Task) -> HttpResponse:
    """Show the copy to be edited, or once it is confirmed, spawn it and go to its page."""
    page = reverse("admin:tasks_app_task_change", args=[task.task_id])
    initial = {**{name: getattr(task, name) for name in PARTS}, "params": with_bindings(task)}
    form = RespawnForm(request.POST if is_confirmed(request) else None, initial=initial)
    if is_confirmed(request) and form.is_valid():
        try:
            with transaction.atomic():
                reason = form.cleaned_data["reason"]
                fresh = respawn(task.task_id, actor=actor_of(request.user, None), reason=reason, **form.options)
                owner.log_change(request, task, f"Respawned as {fresh}. Reason: {reason}")
            messages.success(request, f"{fresh} was spawned as a copy of {task}")
            return HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=[fresh.task_id]))
        except AbsurdError as error:
            form.add_error(None, str(error))
    question = Question(
        title=f"Respawn {task}?",
        warning="A new task is spawned with these params; the old one does not change, and each refers to the other.",
        submit="Respawn",
        back=page,
        crumb=str(task),
    )
    return ask(owner, request, question, form)
