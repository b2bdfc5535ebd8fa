"""What operators order workers to do from the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from tasks_app.admin.asking import Question, ask_and_act
from tasks_app.models import Worker, WorkerOrder
from tasks_app.operations.workers import RESUME, order_worker, refusal

PERMISSION = "tasks_app.order_worker"


@dataclass(frozen=True, kw_only=True)
class WorkerVerb:
    """One order, with what the page says before it is given."""

    name: str
    label: str
    ordered: str
    warning: str
    dangerous: bool = False

    def refusal(self, worker: Worker) -> str:
        """Why it cannot be ordered now; empty when it can."""
        if self.ordered == worker.ordered:
            return "it already has this order" if self.ordered else "nothing was ordered"
        return refusal(worker, self.ordered)


VERBS = (
    WorkerVerb(
        name="pause",
        label="Pause",
        ordered=WorkerOrder.PAUSE,
        warning="It finishes its running tasks and claims nothing until it is resumed.",
    ),
    WorkerVerb(name="resume", label="Resume", ordered=RESUME, warning="It claims tasks again."),
    WorkerVerb(
        name="drain",
        label="Drain",
        ordered=WorkerOrder.DRAIN,
        warning="It finishes its running tasks and exits. It must then be started again on its host.",
        dangerous=True,
    ),
    WorkerVerb(
        name="recycle",
        label="Recycle",
        ordered=WorkerOrder.RECYCLE,
        warning="It finishes its running tasks without claiming more, then continues as a new process.",
    ),
)


def ask_and_order(
    owner: admin.ModelAdmin[Worker],
    request: HttpRequest,
    verb: WorkerVerb,
    chosen: Sequence[Worker],
    hidden: Sequence[tuple[str, Any]] = (),
) -> HttpResponse:
    """Ask why, then give the order to all of them or, if one refuses, to none."""

    def act(actor: str, reason: str) -> str:
        for worker in chosen:
            order_worker(worker.pk, verb.ordered, actor=actor, reason=reason)
            owner.log_change(request, worker, f"{verb.label}. Reason: {reason}")
        return f"{verb.label}: {', '.join(map(str, chosen))}"

    names = ", ".join(map(str, chosen))
    question = Question(
        title=f"{verb.label} {names}?",
        warning=verb.warning,
        submit=f"{verb.label} {names}" if len(chosen) == 1 else f"{verb.label} {len(chosen)} workers",
        back=reverse("admin:tasks_app_worker_changelist"),
        crumb="Workers",
        dangerous=verb.dangerous,
        hidden=hidden,
    )
    return ask_and_act(owner, request, question, act)
