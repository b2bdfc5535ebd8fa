"""Details that a caller has already are not sent again: ETag and If-None-Match.

The tags are weak: what differs with the clock alone, such as the age of a heartbeat, makes no new one.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from django.db.models.expressions import RawSQL
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.engine import archive
from tasks_app.engine.lookup import VERSION
from tasks_app.errors import TaskNotFound
from tasks_app.models import ArchivedTask, Task, Worker
from tasks_app.monitoring.workers import WorkerReport

IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An ETag received before: 304 if nothing has changed."
)
_WORKER_VERSION = RawSQL('"tasks_app_worker".xmin::text || "tasks_app_worker".ctid::text', [])


def task_tag(task_id: UUID) -> str:
    """Return the tag of a task, without loading what is large of it. Raises TaskNotFound."""
    rows = Task.objects.filter(task_id=task_id).annotate(version=VERSION)
    task = rows.only("status", "cancel_requested_at", "quarantined_at", "lease_until", "hold", "retry_count").first()
    if task is None and not ArchivedTask.objects.filter(task_id=task_id).exists():
        raise TaskNotFound(task_id)
    return _tag(task_id, "archived") if task is None else tag_of(task)


def tag_of(task: Task) -> str:
    """Return the tag of a task that was looked up; an archived one changes no more."""
    if archive.is_archived(task):
        return _tag(task.task_id, "archived")
    return _tag(task.task_id, task.version, task.display_status)  # type: ignore[attr-defined]


def worker_tag(report: WorkerReport) -> str:
    """Return the tag of a worker."""
    version = Worker.objects.filter(pk=report.worker.pk).values_list(_WORKER_VERSION).get()
    return _tag(version, report.state, [task.pk for task in report.tasks])


def content_tag(data: Any) -> str:
    """Return the tag of an answer that is made again each time."""
    return _tag(JSONRenderer().render(data))


def _tag(*parts: object) -> str:
    return f'W/"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def asks(request: Request) -> bool:
    """Whether the caller has an answer from before."""
    return "If-None-Match" in request.headers


def unchanged(request: Request, tag: str) -> Response | None:
    """Return the answer to a caller who has what the tag stands for."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return tagged(Response(status=304), tag) if tag in known or known == ["*"] else None


def tagged(response: Response, tag: str) -> Response:
    """Return the response with the tag, to be asked about before it is used again."""
    response["ETag"], response["Cache-Control"] = tag, "private, no-cache"
    return response
