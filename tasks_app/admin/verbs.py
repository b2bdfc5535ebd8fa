"""What operators do to tasks from the console: asked first, then done one by one, each recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest

from tasks_app.access import actor_of
from tasks_app.actions.cancel import cancel
from tasks_app.actions.reprioritize import reprioritize
from tasks_app.actions.requeue import requeue
from tasks_app.actions.retry import retry
from tasks_app.errors import AbsurdError, InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.models.task import FINISHED, PRIORITY_LEAST, PRIORITY_MOST


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(max_length=2000, widget=forms.TextInput(attrs={"size": 60, "autofocus": True}))


class PriorityForm(ReasonForm):
    """How urgent, and why."""

    priority = forms.IntegerField(
        min_value=PRIORITY_LEAST,
        max_value=PRIORITY_MOST,
        help_text="15–20 critical · 10–14 high · 5–9 normal · 1–4 low",
    )
    field_order: tuple[str, ...] = ("priority", "reason")


class RequeueForm(ReasonForm):
    """Why, and whether a worker that is still there may lose its work."""

    force = forms.BooleanField(
        required=False,
        label="Force",
        help_text="Also where the lease still holds: the worker may be at work, and its outcome will be refused.",
    )


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Something that an operator can do to a task."""

    name: str
    label: str
    permission: str
    """The word in the permission's name: `cancel` for `tasks_app.cancel_task`."""
    warning: str
    form: type[ReasonForm]
    act: Callable[[Task, str, dict[str, Any]], Task]
    outcome: Callable[[Task], str]
    refusal: Callable[[Task], str]
    """Why it cannot be done to a task now; empty when it can."""
    dangerous: bool = False


def _refuse_unless(statuses: Iterable[str]) -> Callable[[Task], str]:
    allowed = frozenset(statuses)
    return lambda task: "" if task.status in allowed else f"it is {task.display_status}"


CANCEL = Verb(
    name="cancel",
    label="Cancel",
    permission="cancel",
    warning="Pending tasks are cancelled at once. Claimed ones are stopped by their worker, and their work is lost.",
    form=ReasonForm,
    act=lambda task, actor, given: cancel(task.task_id, actor=actor, reason=given["reason"]),
    outcome=lambda task: "cancelled" if task.status == TaskStatus.CANCELLED else "asked to stop",
    refusal=_refuse_unless(set(TaskStatus.values) - FINISHED),
    dangerous=True,
)
RETRY = Verb(
    name="retry",
    label="Retry",
    permission="retry",
    warning="Failed and cancelled tasks go back to their queue with the same params and a fresh set of retries.",
    form=ReasonForm,
    act=lambda task, actor, given: retry(task.task_id, actor=actor, reason=given["reason"]),
    outcome=lambda _: "back in the queue",
    refusal=_refuse_unless((TaskStatus.FAILED, TaskStatus.CANCELLED)),
)
REPRIORITIZE = Verb(
    name="reprioritize",
    label="Reprioritise",
    permission="reprioritize",
    warning="Pending tasks change their place at once; for claimed ones it counts from their next attempt.",
    form=PriorityForm,
    act=lambda task, actor, given: reprioritize(task.task_id, given["priority"], actor=actor, reason=given["reason"]),
    outcome=lambda task: f"given priority {task.priority}",
    refusal=_refuse_unless(set(TaskStatus.values) - FINISHED),
)
REQUEUE = Verb(
    name="requeue",
    label="Requeue",
    permission="requeue",
    warning=(
        "Claims whose lease has run out, or whose worker is gone, end as lost. Each counts as a retry; what has none "
        "left fails."
    ),
    form=RequeueForm,
    act=lambda task, actor, given: requeue(
        task.task_id, actor=actor, reason=given["reason"], force=given.get("force", False)
    ),
    outcome=lambda task: "back in the queue" if task.status == TaskStatus.PENDING else f"now {task.status}",
    refusal=_refuse_unless((TaskStatus.CLAIMED,)),
    dangerous=True,
)
VERBS = {verb.name: verb for verb in (CANCEL, RETRY, REPRIORITIZE, REQUEUE)}


def carry_out(
    verb: Verb,
    tasks: Iterable[Task],
    request: HttpRequest,
    given: dict[str, Any],
    log: Callable[[HttpRequest, Task, str], object],
) -> None:
    """Do it to each task, write who did it and why, and tell how each went."""
    outcomes: Counter[str] = Counter()
    refused = False
    actor = actor_of(request.user, None)
    for task in tasks:
        try:
            with transaction.atomic():
                changed = verb.act(task, actor, given)
                log(request, task, f"{verb.label}: {verb.outcome(changed)}. Reason: {given['reason']}")
            outcomes[verb.outcome(changed)] += 1
        except AbsurdError as error:
            refused = True
            outcomes[f"refused: {_why(error)}"] += 1
    text = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "nothing was selected"
    messages.add_message(request, messages.WARNING if refused else messages.SUCCESS, text)


def _why(error: AbsurdError) -> str:
    if not isinstance(error, InvalidTransition):
        return str(error)
    return f"it is {error.current}" + (f"; {error.hint}" if error.hint else "")
