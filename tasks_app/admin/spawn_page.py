"""Spawning a task by a form, and a changed copy of one: what will be spawned is shown first, then it is confirmed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tasks_app.admin import commands, pages
from tasks_app.admin.operation_form import ParamsForm
from tasks_app.auth.keys import actor_of
from tasks_app.engine import registry
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.errors import AbsurdError, ConfirmationRefused, ParamsInvalid, UnknownTaskName
from tasks_app.models import Queue, Task
from tasks_app.operations.operation import check_token, token_of
from tasks_app.operations.tasks import changes, respawn

KEY_DIGITS = 32


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would be spawned."""

    body: Mapping[str, Any]
    commands: Mapping[str, str]
    asked: Mapping[str, Any]
    """What decides what is spawned, and who asked."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the task that is copied."""
    warning: str = ""

    @property
    def token(self) -> str:
        """The token by which exactly this is confirmed."""
        return token_of(self.asked, 1)


@dataclass(frozen=True, kw_only=True)
class Action:
    """One of the two things that the form is for."""

    title: str
    effect: str
    submit: str
    form: ParamsForm
    back: pages.Link
    preview: Callable[[], Preview]
    act: Callable[[], Task]


def spawn_view(request: HttpRequest) -> HttpResponse:
    """Choose a task name, fill in its params, see what it comes to, and spawn it."""
    name = request.GET.get("task_name", "")
    specs = [registry.get(each) for each in registry.names()]
    if not name:
        return pages.render(
            request, "admin/tasks_app/spawn_choice.html", title="Spawn a task", context={"specs": specs}
        )
    try:
        spec = registry.get(name)
    except UnknownTaskName as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(request.path)
    queues = [(each, each) for each in Queue.objects.values_list("name", flat=True)]
    form = ParamsForm(TaskOptions, request.POST or None, choices={"queue_name": queues} if queues else None, spec=spec)

    def preview() -> Preview:
        body = form.params().model_dump(mode="json", exclude_unset=True)
        return Preview(
            body=body,
            commands=commands.commands(request, "tasks", body),
            asked=_asked(request, body),
            warning=_warning(body.get("queue_name")),
        )

    def act() -> Task:
        options: TaskOptions = form.params()
        if options.idempotency_key is None:
            options = options.model_copy(update={"idempotency_key": _key_of(request)})
        return spawn(options, actor=actor_of(request.user))

    action = Action(
        title=f"Spawn {name}",
        effect=spec.description,
        submit=f"Spawn {name}",
        form=form,
        back=pages.Link(label="Spawn a task", address=request.path),
        preview=preview,
        act=act,
    )
    return _answer(request, action)


def respawn_view(request: HttpRequest, old: Task, back: str) -> HttpResponse:
    """Change options and params of a task, see what differs, and spawn the copy."""
    initial = respawn.initial(old)
    form = ParamsForm(respawn.params_model, request.POST or None, initial=initial, spec=registry.find(old.task_name))
    path = f"tasks/{old.task_id}/respawn"

    def preview() -> Preview:
        params = respawn.params_model.parse({"reason": "not needed to look", **form.given()})
        fresh = respawn.options(old, params)
        body = {name: value for name, value in fresh.items() if value != initial[name]} | {"reason": params.reason}
        return Preview(
            body={"task_name": old.task_name, "queue_name": old.queue_id, **fresh},
            commands=commands.commands(request, path, body),
            asked=_asked(request, {**fresh, "of": str(old.task_id)}),
            changes=changes(initial, fresh),
            warning=_warning(old.queue_id),
        )

    def act() -> Task:
        return respawn.once(old.task_id, form.params(), actor_of(request.user), _key_of(request))

    action = Action(
        title=f"Respawn {old}",
        effect=respawn.effect,
        submit=f"Respawn {old}",
        form=form,
        back=pages.Link(label=str(old), address=back),
        preview=preview,
        act=act,
    )
    return _answer(request, action)


def _answer(request: HttpRequest, action: Action) -> HttpResponse:
    """Show the form; once it is right show what will be spawned; once exactly that is confirmed, spawn it."""
    form, shown = action.form, None
    confirmed = "confirmed" in request.POST
    if request.method == "POST" and not confirmed:
        form.leave_reason_out()
    if form.is_bound and form.may_be_previewed:
        shown = action.preview()
    if confirmed and shown is not None and form.is_valid():
        try:
            if _is_what_was_shown(request, shown):
                return _spawned(request, action, action.act())
            messages.warning(request, "This is not what was shown before; look again.")
        except ParamsInvalid as error:
            form.add_faults(error)
            shown = None
        except AbsurdError as error:
            messages.error(request, str(error))
    context = {"form": form, "preview": shown, "effect": action.effect, "submit": action.submit}
    return pages.render(request, "admin/tasks_app/spawn.html", title=action.title, back=action.back, context=context)


def _spawned(request: HttpRequest, action: Action, task: Task) -> HttpResponse:
    """Record the spawn, and go to the page of the task."""
    reason = action.form.given().get("reason")
    message = f"{action.submit}. Reason: {reason}" if reason else action.submit
    if task.is_new:
        LogEntry.objects.log_actions(request.user.pk or 0, [task], ADDITION, message)
    messages.success(request, f"{task} was spawned into {task.queue_id}.")
    return HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=[task.task_id]))


def _key_of(request: HttpRequest) -> str:
    """Return the idempotency key of a page: one that is sent twice spawns one task."""
    digest = hashlib.sha256(request.POST["token"].encode()).hexdigest()
    return f"console-{digest[:KEY_DIGITS]}"


def _asked(request: HttpRequest, content: Mapping[str, Any]) -> dict[str, Any]:
    return {"spawn": dict(content), "person": request.user.pk}


def _is_what_was_shown(request: HttpRequest, shown: Preview) -> bool:
    try:
        check_token(request.POST.get("token", ""), shown.asked, 1)
    except ConfirmationRefused:
        return False
    return True


def _warning(queue_name: str | None) -> str:
    """Return why the task would not be claimed soon, where its queue is paused."""
    queue = Queue.objects.filter(name=queue_name, paused_at__isnull=False).first() if queue_name else None
    return f"{queue.name} is paused by {queue.paused_by}: {queue.pause_reason}" if queue else ""


pages.add(
    pages.Page(
        route="spawn/", name="spawn", view=spawn_view, permission="tasks_app.spawn_task", label="Spawn", order=14
    )
)
