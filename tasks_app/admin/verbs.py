"""What operators do to tasks from the console: asked first, then done, each recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest

from tasks_app.auth.keys import actor_of
from tasks_app.models import Task
from tasks_app.operations import bulk
from tasks_app.priority import PRIORITY_LEAST, PRIORITY_MOST


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
        help_text="Also claims whose lease is still valid: the outcome of their workers will be refused.",
    )


@dataclass(frozen=True, kw_only=True)
class Verb:
    """How the console asks for something that operators do to tasks."""

    deed: bulk.Verb
    label: str
    warning: str
    form: type[ReasonForm]
    dangerous: bool = False

    @property
    def name(self) -> str:
        """The verb's name in addresses."""
        return self.deed.name

    @property
    def permission(self) -> str:
        """The word in the permission's name: `cancel` for `tasks_app.cancel_task`."""
        return self.deed.permission.removeprefix("tasks_app.").removesuffix("_task")

    def refusal(self, task: Task) -> str:
        """Why it cannot be done to a task now; empty when it can."""
        return self.deed.refusal(task)


CANCEL = Verb(
    deed=bulk.CANCEL,
    label="Cancel",
    warning="Pending tasks are cancelled at once. Claimed ones are stopped by their worker, and their work is lost.",
    form=ReasonForm,
    dangerous=True,
)
RETRY = Verb(
    deed=bulk.RETRY,
    label="Retry",
    warning="Failed and cancelled tasks go back to their queue with the same params and all retries available again.",
    form=ReasonForm,
)
REPRIORITIZE = Verb(
    deed=bulk.REPRIORITIZE,
    label="Reprioritise",
    warning="Pending tasks change their position at once; claimed ones with their next attempt.",
    form=PriorityForm,
)
REQUEUE = Verb(
    deed=bulk.REQUEUE,
    label="Requeue",
    warning=(
        "Claims whose lease has expired, or whose worker is gone, end as lost. Each uses up a retry; a task without "
        "retries left fails."
    ),
    form=RequeueForm,
    dangerous=True,
)
VERBS = {verb.name: verb for verb in (CANCEL, RETRY, REPRIORITIZE, REQUEUE)}


def carry_out(verb: Verb, tasks: QuerySet[Task], request: HttpRequest, given: dict[str, Any]) -> None:
    """Do it to each task, write who did it and why, and tell how each went."""

    def also(done: Sequence[bulk.Done]) -> None:
        for outcome, alike in groupby(sorted(done, key=_outcome), key=_outcome):
            LogEntry.objects.log_actions(
                request.user.pk or 0,
                [each.task for each in alike if each.task is not None],
                CHANGE,
                f"{verb.label}: {outcome}. Reason: {given['reason']}",
            )

    actor = actor_of(request.user, None)
    ids = bulk.ids_of(tasks, children_first=verb.deed.children_first)
    done = bulk.carry_out(verb.deed, ids, actor=actor, given=given, also=also)
    told = [f"{count} {outcome}" for outcome, count in done.outcomes.items()]
    told += [f"{count} refused: {why}" for why, count in done.refused.items()]
    level = messages.WARNING if done.refused else messages.SUCCESS
    messages.add_message(request, level, ", ".join(told) or "nothing was selected")


def _outcome(done: bulk.Done) -> str:
    return done.outcome
