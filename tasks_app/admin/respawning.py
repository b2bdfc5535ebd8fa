"""The page that spawns a changed copy of a task."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tasks_app.admin.asking import Question, ask, is_confirmed
from tasks_app.admin.verbs import PriorityForm
from tasks_app.auth.keys import actor_of
from tasks_app.engine.spawn import TIMEOUT_MOST_SEC
from tasks_app.engine.worker_calls import with_bindings
from tasks_app.errors import AbsurdError
from tasks_app.models import Task
from tasks_app.operations.respawn import respawn

PERMISSION = "tasks_app.respawn_task"


class RespawnForm(PriorityForm):
    """What is different in the copy, and why."""

    params = forms.JSONField(widget=forms.Textarea(attrs={"rows": 12, "cols": 80}))
    timeout_sec = forms.IntegerField(min_value=1, max_value=TIMEOUT_MOST_SEC, help_text="Longest time of one attempt.")
    field_order = ("params", "priority", "timeout_sec", "reason")

    def clean_params(self) -> dict[str, Any]:
        """Refuse what is no object."""
        params = self.cleaned_data["params"]
        if not isinstance(params, dict):
            raise forms.ValidationError("write an object, such as {}")
        return params


def ask_or_respawn(owner: admin.ModelAdmin[Any], request: HttpRequest, task: Task) -> HttpResponse:
    """Show the copy to be edited, or once it is confirmed, spawn it and go to its page."""
    page = reverse("admin:tasks_app_task_change", args=[task.task_id])
    initial = {"params": with_bindings(task), "priority": task.priority, "timeout_sec": task.timeout_sec}
    form = RespawnForm(request.POST if is_confirmed(request) else None, initial=initial)
    if is_confirmed(request) and form.is_valid():
        try:
            with transaction.atomic():
                fresh = respawn(task.task_id, actor=actor_of(request.user, None), **form.cleaned_data)
                owner.log_change(request, task, f"Respawned as {fresh}. Reason: {form.cleaned_data['reason']}")
            messages.success(request, f"{fresh} was spawned as a copy of {task}")
            return HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=[fresh.task_id]))
        except AbsurdError as error:
            form.add_error(None, str(error))
    question = Question(
        title=f"Respawn {task}?",
        warning="A new task is spawned with these params; the old one stays as it is, and each names the other.",
        submit="Respawn",
        back=page,
        crumb=str(task),
    )
    return ask(owner, request, question, form)
