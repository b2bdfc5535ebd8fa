"""The page between wanting and doing: it says what will happen to how many tasks, lists them, and asks why."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from tasks_app.admin.verbs import Verb, carry_out
from tasks_app.models import Task
from tasks_app.operations.bulk import has_grown

SHOWN = 20
TYPE_THE_NUMBER_ABOVE = 100


def ask_or_act(
    owner: admin.ModelAdmin[Task], request: HttpRequest, verb: Verb, tasks: QuerySet[Task]
) -> TemplateResponse | None:
    """Show the page, or once it is confirmed, act and return None.

    The selection is made again from the list's filters, so what is done is what was shown; if it has grown by more than
    a tenth meanwhile, the page is shown again.
    """
    tasks = tasks.order_by("id")
    count = tasks.count()
    confirmed = request.method == "POST" and "confirmed" in request.POST
    form = verb.form(request.POST if confirmed else None, initial={"priority": _common_priority(tasks)})
    if confirmed and form.is_valid() and _still_meant(request, count):
        carry_out(verb, tasks, request, form.cleaned_data)
        return None
    across = request.POST.get("select_across") == "1"
    chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
    context = {
        **owner.admin_site.each_context(request),
        "title": f"{verb.label} {count} task{'' if count == 1 else 's'}?",
        "opts": Task._meta,
        "verb": verb,
        "form": form,
        "count": count,
        "rows": [(task, verb.refusal(task)) for task in tasks.select_related("worker")[:SHOWN]],
        "unlisted": max(0, count - SHOWN),
        "type_the_number": count > TYPE_THE_NUMBER_ABOVE,
        "hidden": {"action": request.POST.get("action", ""), "select_across": "1" if across else "0", "index": "0"},
        "chosen": chosen[:1] if across else chosen,
        "checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/tasks_app/task/confirm.html", context)


def _common_priority(tasks: QuerySet[Task]) -> Any:
    found = list(tasks.order_by().values_list("priority", flat=True).distinct()[:2])
    return found[0] if len(found) == 1 else None


def _still_meant(request: HttpRequest, count: int) -> bool:
    expected = request.POST.get("expected", "")
    if not expected.isdigit() or has_grown(int(expected), count):
        messages.warning(request, f"The selection has grown from {expected} to {count} tasks; check it again.")
        return False
    if count > TYPE_THE_NUMBER_ABOVE and request.POST.get("typed") != str(count):
        messages.error(request, f"Type the number of tasks, {count}, to confirm.")
        return False
    return True
