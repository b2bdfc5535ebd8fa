"""Operations in the console: buttons, list actions and one page that shows what will be done and asks why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from tasks_app import formats
from tasks_app.admin import edits
from tasks_app.admin.history import HistoryAdmin
from tasks_app.admin.operation_form import Choices, ParamsForm
from tasks_app.admin.pages import Link
from tasks_app.auth.keys import actor_of
from tasks_app.errors import AbsurdError, ConfirmationRefused, ParamsInvalid, SelectionChanged
from tasks_app.models import Task, TaskEvent
from tasks_app.models.history import BY_PEOPLE
from tasks_app.operations import bulk
from tasks_app.operations.catalogue import operations_on
from tasks_app.operations.operation import (
    Counts,
    Operation,
    Params,
    PreviewedOperation,
    SelectionGuard,
    TargetKind,
    check_token,
    token_of,
)
from tasks_app.operations.tasks import TaskOperation

LISTED_TASKS = 20
TYPE_THE_NUMBER_ABOVE = 100


@dataclass(frozen=True, kw_only=True)
class Button:
    """A button on a target's page; disabled where there is a refusal."""

    operation: Operation[Any, Any]
    refusal: str
    address: str


class OperatingAdmin(HistoryAdmin):
    """Pages of a kind of target, with its operations from the catalogue."""

    target_kind: ClassVar[TargetKind]
    selected_by_lists: ClassVar[bool] = True
    """Whether a list has its operations as actions."""
    page_label: ClassVar[str] = ""
    """The name of the page that operations lead back to, where it is not that of the list."""

    def key_of(self, target: Any) -> Any:
        """Return the target's key, as operations take it."""
        return target.pk

    def address_of(self, target: Any) -> str:
        """Return the address of the target's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[target.pk])

    def label_of(self, target: Any) -> str:
        """Return what the target is called in titles and messages."""
        return str(target)

    def address_after(self, operation: Operation[Any, Any], targets: Sequence[Any], result: Any) -> str:
        """Return the address of the page to go to when the operation is done."""
        gone = len(targets) != 1 or operation.name in ("delete", "remove")
        return self._list_address() if gone else self.address_of(targets[0])

    def choices_of(self, operation: Operation[Any, Any], target: Any) -> Mapping[str, Choices]:
        """Return the values from which params of the operation are chosen."""
        return {}

    def find_target(self, request: HttpRequest, object_id: str) -> Any:
        """Return the target of an address. Raises Http404."""
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return found

    def operations(self) -> Sequence[Operation[Any, Any]]:
        """Return the operations on this kind of target."""
        return operations_on(self.target_kind)

    def permitted(self, request: HttpRequest) -> list[Operation[Any, Any]]:
        """Return the operations that the person may carry out."""
        return [each for each in self.operations() if request.user.has_perm(each.permission)]

    def buttons(self, request: HttpRequest, target: Any) -> list[Button]:
        """Return the buttons of a target's page."""
        return [
            Button(operation=each, refusal=each.refusal(target), address=f"../{each.name}/")
            for each in self.permitted(request)
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["buttons"] = self.buttons(request, context["original"]) if context.get("original") else []
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        label = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view(self.operation_view)
        own = [
            path(f"<path:object_id>/{each.name}/", view, {"operation": each}, name=f"{label}_{each.name}")
            for each in self.operations()
        ]
        return [*own, *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return an action for each operation; deleting needs a reason, and is one of them."""
        if not self.selected_by_lists:
            return {}
        made = {}
        for each in self.permitted(request):
            if each.name != "respawn" and not isinstance(each, PreviewedOperation):
                name = f"{each.name}_{self.opts.model_name}s"
                made[name] = (_action(each), name, f"{each.label} selected {self.opts.verbose_name_plural}…")
        return made

    def operation_view(self, request: HttpRequest, object_id: str, operation: Operation[Any, Any]) -> HttpResponse:
        """Do one thing to one target: GET shows what and asks why, POST does it."""
        if not request.user.has_perm(operation.permission):
            raise PermissionDenied
        target = self.find_target(request, object_id)
        return self.confirm_and_act(request, operation, [target], self.address_of(target))

    def act_on_selection(self, request: HttpRequest, operation: Operation[Any, Any], chosen: Any) -> HttpResponse:
        """Do one thing to what was selected in the list."""
        if isinstance(operation, TaskOperation):
            return self.confirm_and_act_on_tasks(request, operation, chosen, self._list_address())
        return self.confirm_and_act(request, operation, list(chosen.order_by("pk")), self._list_address())

    def confirm_and_act(
        self, request: HttpRequest, operation: Operation[Any, Any], targets: Sequence[Any], back: str
    ) -> HttpResponse:
        """Show the page, or once it is confirmed act on all targets or, if one refuses, on none."""
        form, confirmed = self._form(request, operation, targets[0] if targets else None)
        preview = _Preview.of(operation, self._keys(targets), form, request) if form.may_be_previewed else None
        agreed = preview is None or (preview.agreed and _typed(request, preview.count))
        if confirmed and form.is_valid() and agreed:
            try:
                return self._act(request, operation, targets, form)
            except ParamsInvalid as error:
                form.add_faults(error)
            except AbsurdError as error:
                messages.error(request, str(error))
                return HttpResponseRedirect(back)
        if confirmed and form.is_valid() and not agreed:
            messages.warning(request, "This is not what was shown before, or the number is not typed; look again.")
        names = ", ".join(map(self.label_of, targets))
        subject = f" {names}" if len(targets) < 4 else f" {len(targets)} {self.opts.verbose_name_plural}"
        context: dict[str, Any] = {"preview": preview, "form": form, "submit": f"{operation.label}{subject}".strip()}
        if preview is not None and preview.count > TYPE_THE_NUMBER_ABOVE:
            context |= {"count": preview.count, "type_the_number": True}
        return self._page(request, operation, f"{operation.label}{subject}?".replace(" ?", "?"), back, context)

    def confirm_and_act_on_tasks(
        self, request: HttpRequest, operation: TaskOperation[Any], tasks: QuerySet[Task], back: str
    ) -> HttpResponse:
        """Show the page, or once it is confirmed act.

        The selection is repeated from the list's filters, so what is done is what was shown; if it has grown by more
        than a tenth meanwhile, the page is shown again.
        """
        tasks = tasks.order_by("id")
        count = tasks.count()
        form, confirmed = self._form(request, operation, _alike(tasks))
        if confirmed and form.is_valid() and still_meant(request, count):
            self._act_on_tasks(request, operation, tasks, form)
            return HttpResponseRedirect(_next_page(request) or back)
        rows = [(task, operation.refusal(task)) for task in tasks.select_related("worker")[:LISTED_TASKS]]
        context = {
            "caution": operation.caution(tasks),
            "form": form,
            "submit": f"{operation.label} {formats.counted(count, 'tasks')}",
            "count": count,
            "rows": rows,
            "unlisted": max(0, count - LISTED_TASKS),
            "type_the_number": count > TYPE_THE_NUMBER_ABOVE,
        }
        return self._page(request, operation, f"{context['submit']}?", back, context)

    def _page(
        self, request: HttpRequest, operation: Operation[Any, Any], title: str, back: str, context: Mapping[str, Any]
    ) -> TemplateResponse:
        across = request.POST.get("select_across") == "1"
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        hidden = [(name, request.POST[name]) for name in ("action", "select_across", "index") if name in request.POST]
        if came_from := _next_page(request):
            hidden.append(("next", came_from))
        names = self.opts.verbose_name_plural if back == self._list_address() else self.opts.verbose_name
        shown = {
            "title": title,
            "opts": self.opts,
            "operation": operation,
            "back": Link(label=self.page_label or str(names).capitalize(), address=back),
            "hidden": [*hidden, *((ACTION_CHECKBOX_NAME, key) for key in (chosen[:1] if across else chosen))],
        }
        everywhere = self.admin_site.each_context(request)
        return TemplateResponse(request, "admin/tasks_app/confirm.html", {**everywhere, **shown, **context})

    def _form(self, request: HttpRequest, operation: Operation[Any, Any], target: Any) -> tuple[ParamsForm, bool]:
        """Return the form, and whether it was confirmed."""
        confirmed = request.method == "POST" and "confirmed" in request.POST
        looked = request.method == "POST" and "look" in request.POST
        present = operation.initial(target) if target is not None else {}
        initial = {**present, **request.GET.dict()}
        choices = self.choices_of(operation, target)
        # An address with params shows what these would do.
        asked = isinstance(operation, PreviewedOperation) and request.method == "GET"
        asked = asked and not operation.params_model.model_fields.keys().isdisjoint(request.GET)
        data = request.POST if confirmed or looked else request.GET if asked else None
        form = ParamsForm(operation.params_model, data, initial=initial, choices=choices)
        if looked or asked:
            form.leave_reason_out()
        form.seen_mark = edits.mark_of(present) if present else ""  # type: ignore[attr-defined]
        if confirmed and present and (text := edits.conflict(form, present)):
            messages.warning(request, text)
            confirmed = False
        return form, confirmed

    def _keys(self, targets: Sequence[Any]) -> list[Any]:
        return [self.key_of(target) for target in targets] or [None]

    @transaction.atomic
    def _act(
        self, request: HttpRequest, operation: Operation[Any, Any], targets: Sequence[Any], form: ParamsForm
    ) -> HttpResponse:
        params, actor, done, result = form.params(), actor_of(request.user), [], None
        for target, key in zip(targets or [None], self._keys(targets), strict=True):
            result = operation.act(key, params, actor)
            outcome = operation.outcome(result)
            now = _as_it_is_now(target)
            done.append(f"{self.label_of(now)}: {outcome}" if now is not None else outcome)
            logged = now if now is not None else self.model(pk=1)
            counted = f": {outcome}" if isinstance(operation, PreviewedOperation) else ""
            self.log_change(request, logged, f"{operation.label}{counted}. Reason: {params.reason}")
        messages.success(request, "; ".join(done))
        return HttpResponseRedirect(_next_page(request) or self.address_after(operation, targets, result))

    def _act_on_tasks(
        self, request: HttpRequest, operation: TaskOperation[Any], tasks: QuerySet[Task], form: ParamsForm
    ) -> None:
        ids = bulk.ids_of(tasks, children_first=operation.children_first)
        chunks = chunks_of(request, operation, form.params())
        done = bulk.BulkResult()
        for results in chunks.each(ids):
            done.add(results)
        report(request, done.outcomes, done.refused)
        if done.refused and (last := _last_by_people(tasks)):
            messages.info(request, last)

    def _list_address(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")


def chunks_of(request: HttpRequest, operation: TaskOperation[Any], params: Params) -> bulk.Chunks:
    """Return an operation of the person, to be done to tasks chunk by chunk and recorded in the history of each."""

    def log(changed: Sequence[bulk.TaskResult]) -> None:
        for outcome, alike in groupby(sorted(changed, key=_outcome), key=_outcome):
            rows = [each.task for each in alike if each.task is not None]
            message = f"{operation.label}: {outcome}. Reason: {params.reason}"
            LogEntry.objects.log_actions(request.user.pk or 0, rows, CHANGE, message)

    return bulk.Chunks(operation=operation, params=params, actor=actor_of(request.user), on_change=log)


def report(request: HttpRequest, outcomes: Mapping[str, int], refused: Mapping[str, int]) -> None:
    """Say on the next page what has become of many tasks."""
    parts = [f"{count:,} {outcome}" for outcome, count in outcomes.items()]
    parts += [f"{count:,} refused: {why}" for why, count in refused.items()]
    level = messages.WARNING if refused else messages.SUCCESS
    messages.add_message(request, level, ", ".join(parts) or "nothing was selected")


def _action(operation: Operation[Any, Any]) -> Callable[..., HttpResponse | None]:
    def act(owner: OperatingAdmin, request: HttpRequest, chosen: QuerySet[Model]) -> HttpResponse | None:
        return owner.act_on_selection(request, operation, chosen)

    return act


def _as_it_is_now(target: Any) -> Any:
    """Return the target after an operation; where it is gone, as it was."""
    return target and (type(target)._default_manager.filter(pk=target.pk).first() or target)


@dataclass(frozen=True, kw_only=True)
class _Preview:
    """What an operation would do, as the page shows it, and whether that is what was shown before."""

    counts: Counts | None
    refusal: str
    token: str
    agreed: bool
    count: int = 0
    """How many tasks it would change."""

    @classmethod
    def of(
        cls, operation: Operation[Any, Any], keys: Sequence[Any], form: ParamsForm, request: HttpRequest
    ) -> _Preview | None:
        """Return the preview of an operation that has one."""
        if not isinstance(operation, PreviewedOperation):
            return None
        try:
            params = operation.params_model.parse({**form.given(), "reason": "not needed to look"})
            counts = operation.preview(keys[0], params)
        except AbsurdError as error:
            return cls(counts=None, refusal=str(error), token="", agreed=False)
        count = operation.affected(counts, params)
        request_now = {
            "operation": repr(operation),
            "target": str(keys[0]),
            **params.without_reason(),
            "person": request.user.pk,
        }
        agreed = True
        try:
            check_token(request.POST.get("token", ""), request_now, count)
        except (ConfirmationRefused, SelectionChanged):
            agreed = False
        return cls(counts=counts, refusal="", token=token_of(request_now, count), agreed=agreed, count=count)


def _next_page(request: HttpRequest) -> str:
    """Return the page of ours that the operation was asked for from, to go back to."""
    given = request.POST.get("next") or request.GET.get("next") or ""
    return given if given.startswith("/") and url_has_allowed_host_and_scheme(given, None) else ""


def _outcome(result: bulk.TaskResult) -> str:
    return result.outcome


def _last_by_people(tasks: QuerySet[Task]) -> str:
    """Return what somebody did last to the task, where it is one: most likely that is why it refuses."""
    ids = list(tasks.values_list("task_id", flat=True)[:2])
    event = TaskEvent.objects.filter(BY_PEOPLE, task_id=ids[0]).order_by("-id").first() if len(ids) == 1 else None
    if event is None:
        return ""
    reason = f": {formats.escaped(event.reason)}" if event.reason else ""
    what = event.event_type.replace("_", " ")
    return f"Last operation on it: {what} by {event.actor} at {formats.moment(event.created_at)}{reason}"


def _alike(tasks: Iterable[Task]) -> Task | None:
    """Return a task whose priority all have, to start from; None where they differ."""
    rows: Any = tasks
    priorities = set(rows.order_by().values_list("priority", flat=True).distinct()[:2])
    return Task(priority=priorities.pop()) if len(priorities) == 1 else None


def _typed(request: HttpRequest, count: int) -> bool:
    """Return whether the number of tasks that was shown has been typed, where there are many."""
    return count <= TYPE_THE_NUMBER_ABOVE or request.POST.get("typed", "") == request.POST.get("expected", "?")


def still_meant(request: HttpRequest, count: int) -> bool:
    """Return whether a selection of that number of tasks was agreed to; say on the page why not."""
    expected = request.POST.get("expected", "")
    if not expected.isdigit() or not SelectionGuard(shown=int(expected)).allows(count):
        messages.warning(request, f"The selection has changed: {expected} were shown, {count} match now.")
        return False
    if count > TYPE_THE_NUMBER_ABOVE and request.POST.get("typed") != str(count):
        messages.error(request, f"Type the number of tasks, {count}, to confirm.")
        return False
    return True
