"""Who changed a row: what people, keys and commands did to it, from the console, the API and the shell alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from tasks_app.admin.pages import Link, render
from tasks_app.models import Limit, Queue, Run, Schedule, Task, TaskEvent, Worker
from tasks_app.models.history import BY_PEOPLE

SHOWN_MOST = 100


def conditions(row: Model) -> Mapping[str, Any] | None:
    """Return what the events about a row have; None for a row that has none."""
    match row:
        case Task():
            return {"task_id": row.task_id}
        case Run():
            return {"run_id": row.run_id}
        case Queue():
            return {"task_id": None, "queue_name": row.name}
        case Worker():
            return {"task_id": None, "detail__worker__boot_id": str(row.pk)}
        case Schedule():
            return {"task_id": None, "detail__schedule": row.name}
        case Limit():
            return {"task_id": None, "detail__scope": row.scope, "detail__name": row.name}
    return None


class HistoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A row whose history is that of its events."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The last events about the row; Django's own page for rows that have no events."""
        row = self.get_object(request, object_id)
        about = conditions(row) if row is not None else None
        if about is None or not self.has_view_permission(request, row):
            return super().history_view(request, object_id, extra_context)
        events = TaskEvent.objects.filter(BY_PEOPLE, **about).order_by("-id")[:SHOWN_MOST]
        context = {"events": events, "most": SHOWN_MOST, "opts": self.opts}
        back = Link(label=str(row), address="../change/")
        return render(request, "admin/history.html", title=f"Who changed {row}", back=back, context=context)
