"""An operation on all tasks that match the filters of the list: counted, confirmed, and done a part at a time.

A request works for a few seconds and answers with how far it is; the browser asks for the next part. What is to be done
stands signed in the page, so no process has to remember it, and an operator who leaves the page stops it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.signing import BadSignature, TimestampSigner
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from tasks_app.admin import display, pages, reading
from tasks_app.admin.operating import TYPE_THE_NUMBER_ABOVE, chunks_of, report, still_meant
from tasks_app.admin.operation_form import ParamsForm
from tasks_app.admin.task_states import COUNTED_MOST
from tasks_app.models import Task, TaskStatus
from tasks_app.operations import bulk
from tasks_app.operations.tasks import TaskOperation

SLICE_SEC = 2.0
SALT = "tasks_app.admin.matching"
TOKEN_SEC = 600
GROUPS_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an operation on many tasks is."""

    person: int
    operation: str
    query: str
    """The filters."""
    params: Mapping[str, Any]
    count: int
    """Tasks that matched when it was confirmed."""
    left: tuple[int, int] | None
    """The keys of the tasks that are left; none at the end."""
    done: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The progress, signed."""
        return TimestampSigner(salt=SALT).sign_object(asdict(self))


def matching_view(request: HttpRequest, operation: TaskOperation[Any], found: ChangeList, back: str) -> HttpResponse:
    """Show what matches and ask why; once it is confirmed do the first part, then the next whenever it is asked for."""
    query = request.GET.urlencode()
    address = f"{back}?{query}" if query else back
    if any(getattr(spec, "refusal", "") for spec in found.filter_specs):
        return HttpResponseRedirect(address)
    matching: QuerySet[Task] = found.queryset.order_by()
    tasks = matching.filter(status__in=operation.possible)
    if "progress" in request.POST:
        earlier = _earlier(request, operation.name, query)
        return _advance(request, operation, tasks, earlier, address) if earlier else HttpResponseRedirect(address)
    count = tasks.count()
    confirmed = "confirmed" in request.POST
    form = ParamsForm(operation.params_model, request.POST if confirmed else None)
    if confirmed and form.is_valid() and count and still_meant(request, count):
        start = Progress(
            person=request.user.pk or 0,
            operation=operation.name,
            query=query,
            params=form.given(),
            count=count,
            left=bulk.span_of(tasks),
        )
        return _advance(request, operation, tasks, start, address)
    words = f"{count:,} task{'' if count == 1 else 's'}"
    context = {
        "operation": operation,
        "form": form,
        "count": count,
        "groups": _groups(tasks),
        "grouped": f"{reading.COUNT_MOST:,}" if count > reading.COUNT_MOST else "",
        "caution": operation.caution(tasks),
        "left_alone": _left_alone(matching, operation),
        "conditions": [(name, value) for name, value in request.GET.items() if value],
        "type_the_number": count > TYPE_THE_NUMBER_ABOVE,
        "submit": f"{operation.label} {words}",
    }
    title = f"{operation.label} {words} that match?"
    link = pages.Link(label="Tasks", address=address)
    return pages.render(request, "admin/tasks_app/matching.html", title=title, back=link, context=context)


def _groups(tasks: QuerySet[Task]) -> list[Any]:
    """Return the largest kinds of tasks, by their numbers among COUNT_MOST of the tasks."""
    some = Task.objects.filter(pk__in=tasks.values("pk")[: reading.COUNT_MOST])
    counted = some.values_list("queue_id", "task_name", "status").annotate(tasks=Count("pk")).order_by("-tasks")
    return list(counted[:GROUPS_SHOWN])


def _left_alone(matching: QuerySet[Task], operation: TaskOperation[Any]) -> dict[str, str]:
    """Return how many tasks match and cannot be changed by the operation, by status; bounded."""
    statuses = sorted(set(TaskStatus.values) - operation.possible)
    some = [matching.filter(status=each).values_list("status")[:COUNTED_MOST] for each in statuses]
    numbers = Counter(status for (status,) in some[0].union(*some[1:], all=True))
    return {status: display.bounded(number, COUNTED_MOST) for status, number in numbers.items()}


def _advance(
    request: HttpRequest, operation: TaskOperation[Any], tasks: QuerySet[Task], progress: Progress, address: str
) -> HttpResponse:
    """Do the next part; show how far it is, or the list when nothing is left."""
    until = time.monotonic() + SLICE_SEC
    chunks = chunks_of(request, operation, operation.params_model.parse(progress.params))
    counted = bulk.BulkResult(outcomes=Counter(progress.outcomes), refused=Counter(progress.refused))
    done, left = progress.done, progress.left
    span = bulk.Span(*left) if left else bulk.Span(0, 0)
    for ids, rest in bulk.pages_of(tasks, span, size=bulk.CHUNK, children_first=operation.children_first):
        for results in chunks.each(ids):
            counted.add(results)
        done, left = done + len(ids), rest
        if time.monotonic() > until:
            break
    if left is None:
        report(request, counted.outcomes, counted.refused)
        return HttpResponseRedirect(address)
    outcomes, refused = dict(counted.outcomes), dict(counted.refused)
    now = replace(progress, left=left, done=done, outcomes=outcomes, refused=refused)
    context = {"progress": now, "operation": operation}
    title = f"{operation.label}: {done:,} of {progress.count:,}"
    link = pages.Link(label="Tasks", address=address)
    return pages.render(request, "admin/tasks_app/matching_progress.html", title=title, back=link, context=context)


def _earlier(request: HttpRequest, operation: str, query: str) -> Progress | None:
    """Return the progress that the page carries; none where it is not the person's own, of this page and recent."""
    try:
        signed = TimestampSigner(salt=SALT).unsign_object(request.POST["progress"], max_age=TOKEN_SEC)
    except BadSignature:
        return None
    found = Progress(**signed)
    same = (found.person, found.operation, found.query) == (request.user.pk, operation, query)
    return found if same else None
