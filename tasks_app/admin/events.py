"""Activity: what people, keys and commands did; with a choice, what queue and workers did too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from tasks_app import formats
from tasks_app.admin import csv_lines, display, pages
from tasks_app.admin.event_filters import EVERYTHING, ActorFilter, EventTypeFilter, FromFilter, UntilFilter
from tasks_app.admin.filters import EventQueueFilter
from tasks_app.admin.reading import ReadOnlyAdmin, id_range
from tasks_app.files.http_streaming import streamed
from tasks_app.models import TaskEvent
from tasks_app.models.history import PEOPLE
from tasks_app.models.querysets import short_id

CSV_ROWS_MOST = 50_000
CSV_BATCH = 1000
CSV_COLUMNS = (
    "id", "created_at", "actor", "event_type", "from_status", "to_status", "task_id", "run_id", "queue_name", "attempt",
    "address", "reason",
)  # fmt: skip
EMPTY = (
    "Nothing matches. Choose everything to see what queue and workers did, or clear the filters. Pausing a queue with "
    "manage.py absurd_queues is shown here."
)


@admin.register(TaskEvent)
class TaskEventAdmin(ReadOnlyAdmin):
    """Events, the last first."""

    list_display = ("at", "actor_shown", "event_type", "move", "task", "queue_name", "whence", "why", "id")
    list_display_links = None
    list_filter = (ActorFilter, EventTypeFilter, EventQueueFilter, FromFilter, UntilFilter)
    search_fields = ("actor",)
    search_help_text = (
        "The beginning of a task id (4 digits or more), or who: alice, user:alice, key:ingest, cli:root@host"
    )
    change_list_template = "admin/tasks_app/taskevent/change_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with the same as CSV."""
        given = {
            "title": "Activity",
            "empty": EMPTY,
            "csv_query": request.GET.urlencode(),
            "csv_most": f"{CSV_ROWS_MOST:,}",
        }
        return super().changelist_view(request, {**given, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskEvent], search_term: str
    ) -> tuple[QuerySet[TaskEvent], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        ids = id_range(term)
        if ids is not None:
            return queryset.filter(task_id__gte=ids[0], task_id__lte=ids[1]), False
        return queryset.filter(actor__in=[term, f"user:{term}", f"key:{term}"]), False

    @admin.display(description="at")
    def at(self, event: TaskEvent) -> SafeString | str:
        """When."""
        return format_html('<span data-row="{}">{}</span>', event.id, display.utc(event.created_at))

    @admin.display(description="who")
    def actor_shown(self, event: TaskEvent) -> SafeString:
        """Who did it, with a link to what else they did."""
        query = {"by": event.actor} if event.actor.startswith(PEOPLE) else {"by": EVERYTHING, "q": event.actor}
        return format_html('<a href="?{}">{}</a>', urlencode(query), formats.escaped(event.actor))

    @admin.display(description="status")
    def move(self, event: TaskEvent) -> SafeString | str:
        """From which status to which."""
        if event.from_status and event.from_status != event.to_status:
            return format_html("{} → {}", event.from_status, display.pill(event.to_status))
        return display.pill(event.to_status) if event.to_status else ""

    @admin.display(description="task, or what else")
    def task(self, event: TaskEvent) -> SafeString | str:
        """The task, or what else an event says it is about; a queue has its own column."""
        if event.task_id is None:
            return formats.escaped(str(event.detail.get("about", "")))
        address = reverse("admin:tasks_app_task_change", args=[event.task_id])
        return format_html('<a href="{}"><code>{}</code></a>', address, short_id(event.task_id))

    @admin.display(description="from")
    def whence(self, event: TaskEvent) -> str:
        """The address of the request that caused it."""
        return str(event.detail.get("address", ""))

    @admin.display(description="why")
    def why(self, event: TaskEvent) -> str:
        """The reason given."""
        return formats.escaped(display.first_line(event.reason))


def _rows(events: list[TaskEvent]) -> Iterator[list[Any]]:
    for event in events:
        address = event.detail.get("address", "")
        cells = {**vars(event), "created_at": formats.moment(event.created_at), "address": address}
        yield [cells[name] for name in CSV_COLUMNS]


def _read(rows: QuerySet[TaskEvent]) -> list[TaskEvent]:
    found = list(rows)
    # Between two batches the client may take its time.
    if not connection.in_atomic_block:
        connection.close()
    return found


async def csv_parts(rows: QuerySet[TaskEvent], most: int = CSV_ROWS_MOST) -> AsyncIterator[bytes]:
    """Yield the rows, ordered by falling id, as CSV in parts of CSV_BATCH lines; no connection is kept in between."""
    yield (",".join(CSV_COLUMNS) + "\r\n").encode()
    left, last = most, None
    while left > 0:
        page = rows if last is None else rows.filter(id__lt=last)
        batch = await sync_to_async(_read)(page[: min(CSV_BATCH, left)])
        if not batch:
            return
        yield "".join(csv_lines.lines(_rows(batch))).encode()
        left, last = left - len(batch), batch[-1].id


def csv_page(request: HttpRequest) -> HttpResponseBase:
    """The events that the list shows under the same filters, the last first, as CSV, at most CSV_ROWS_MOST."""
    try:
        listed = admin.site.get_model_admin(TaskEvent).get_changelist_instance(request)
    except IncorrectLookupParameters:
        names = ", ".join(request.GET)
        raise BadRequest(f"the list of events has no such filter or value: see {names} in the address") from None
    rows: QuerySet[TaskEvent] = listed.get_queryset(request).order_by("-id")
    headers = {"Content-Disposition": 'attachment; filename="activity.csv"'}
    return streamed(csv_parts(rows), content_type="text/csv; charset=utf-8", headers=headers)


pages.add(pages.Page(route="activity.csv", name="activity_csv", view=csv_page, permission="tasks_app.view_taskevent"))
