"""What operators do to whole runs from the console: shown and asked first, then done, recorded and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest
from django.template.response import TemplateResponse

from tasks_app.admin.verbs import ReasonForm
from tasks_app.auth.keys import actor_of
from tasks_app.errors import AbsurdError
from tasks_app.models import Run, Task
from tasks_app.operations.run_retry import retry_run
from tasks_app.operations.runs import cancel_run
from tasks_app.workflows.state import SUPERSEDED

SHOWN_AS = {
    "cancelled": "cancelled at once",
    "stopping": "stopped by their workers",
    "finished": "finished already",
    "retried": "returned to the queue",
    "revived": "waiting for them again",
    "respawned": "re-run as new tasks",
    "left": "retried with another run",
}


class RetryForm(ReasonForm):
    """From where on, and why."""

    from_stage = forms.ChoiceField(
        required=False, label="From stage", help_text="This stage and all stages that depend on it are re-run."
    )
    field_order = ("from_stage", "reason")

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = Task.objects.filter(run=run).exclude(stage__contains=SUPERSEDED).order_by("id")
        stages = dict.fromkeys(stage for stage in rows.values_list("stage", flat=True)[:2000] if stage)
        field: Any = self.fields["from_stage"]
        field.choices = [("", "only failed and cancelled tasks"), *((stage, stage) for stage in stages)]


class CancelForm(ReasonForm):
    """Why."""

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


@dataclass(frozen=True, kw_only=True)
class RunVerb:
    """Something that an operator can do to a run."""

    name: str
    label: str
    permission: str
    warning: str
    form: type[ReasonForm]
    act: Callable[..., Any]
    """Called with the run id, `actor`, `reason`, `dry_run` and the form's other fields; returns counts."""
    dangerous: bool = False

    def counts(self, run: Run, given: dict[str, Any], *, actor: str, dry_run: bool) -> dict[str, int]:
        """Do it, or find out what it would do. Raises AbsurdError when it cannot be done."""
        chosen = {name: value or None for name, value in given.items() if name != "reason"}
        made = self.act(run.run_id, actor=actor, reason=given.get("reason", ""), dry_run=dry_run, **chosen)
        return asdict(made)


CANCEL = RunVerb(
    name="cancel",
    label="Cancel",
    permission="tasks_app.cancel_run",
    warning="Pending tasks are cancelled at once. Claimed ones are stopped by their workers, and their work is lost.",
    form=CancelForm,
    act=cancel_run,
    dangerous=True,
)
RETRY = RunVerb(
    name="retry",
    label="Retry",
    permission="tasks_app.retry_run",
    warning=(
        "Failed and cancelled tasks go back to their queue. From a stage on, completed tasks are done again by fresh "
        "copies; the old ones keep their history and products."
    ),
    form=RetryForm,
    act=retry_run,
)
VERBS = (CANCEL, RETRY)


def refusal_of(verb: RunVerb, run: Run) -> str:
    """Return why the button can do nothing to the run now; empty when it can do something."""
    if verb is RETRY:
        # From a stage on there is nearly always something to do; the page itself says when there is not.
        return "" if Task.objects.filter(run=run).exists() else "it has no tasks in the queue"
    counts = verb.counts(run, {}, actor="", dry_run=True)
    return "" if _changes(counts) else "no unfinished tasks are left"


def _changes(counts: dict[str, int]) -> int:
    return sum(count for name, count in counts.items() if name not in ("finished", "left"))


def ask_or_act(owner: admin.ModelAdmin[Run], request: HttpRequest, verb: RunVerb, run: Run) -> TemplateResponse | None:
    """Show what would be done, or once that is confirmed with a reason, do it and return None.

    If by then more would be done than was shown, it is shown again instead.
    """
    actor = actor_of(request.user, None)
    posted = request.method == "POST"
    confirmed = posted and "confirmed" in request.POST
    form = verb.form(request.POST if posted else None, run=run)  # type: ignore[call-arg]
    valid = form.is_valid()
    given = {name: value for name, value in (form.cleaned_data if posted else {}).items() if value}
    counts, refusal = _look(verb, run, given, actor)
    expected = f"{given.get('from_stage', '')}:{_changes(counts)}" if _changes(counts) else ""
    if confirmed and valid and not refusal:
        if _is_within(expected, request.POST.get("expected", "")):
            _act(owner, request, verb, run, form.cleaned_data)
            return None
        messages.warning(request, "This has changed since it was shown; check it again.")
    if posted and not confirmed:
        form.errors.pop("reason", None)
    context = {
        **owner.admin_site.each_context(request),
        "title": f"{verb.label} {run}?",
        "opts": owner.opts,
        "verb": verb,
        "run": run,
        "form": form,
        "refusal": refusal,
        "counts": [(SHOWN_AS[name], count) for name, count in counts.items() if count],
        "expected": expected,
    }
    return TemplateResponse(request, "admin/tasks_app/run/confirm.html", context)


def _look(verb: RunVerb, run: Run, given: dict[str, Any], actor: str) -> tuple[dict[str, int], str]:
    try:
        return verb.counts(run, given, actor=actor, dry_run=True), ""
    except AbsurdError as error:
        return {}, str(error)


def _is_within(now: str, shown: str) -> bool:
    """Whether as much or less would be done now than was shown, from the same stage on."""
    stage, _, count = now.rpartition(":")
    shown_stage, _, shown_count = shown.rpartition(":")
    return stage == shown_stage and shown_count.isdigit() and count.isdigit() and int(count) <= int(shown_count)


def _act(owner: admin.ModelAdmin[Run], request: HttpRequest, verb: RunVerb, run: Run, given: dict[str, Any]) -> None:
    try:
        with transaction.atomic():
            counts = verb.counts(run, given, actor=actor_of(request.user, None), dry_run=False)
            text = ", ".join(f"{count} {SHOWN_AS[name]}" for name, count in counts.items() if count)
            owner.log_change(request, run, f"{verb.label}: {text}. Reason: {given['reason']}")
        messages.success(request, f"{run}: {text}")
    except AbsurdError as error:
        messages.error(request, str(error))
