"""What is asked of the database: the actions and readings behind the API, answered in its shapes."""

from __future__ import annotations

import getpass
import io
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models.functions import Left
from django.http import QueryDict
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer

from tasks_app.api.bodies import JsonObjectParser
from tasks_app.api.filters import tasks_where
from tasks_app.api.serializers import (
    ERROR_SUMMARY_CHARS,
    SpawnedSerializer,
    TaskSummarySerializer,
)
from tasks_app.api.system_serializers import HealthSerializer
from tasks_app.api.views.queues import queue_names as all_queue_names
from tasks_app.api.views.tasks import as_spawned, detail_of
from tasks_app.client.faults import RequestRefused
from tasks_app.client.transport import Document
from tasks_app.engine import lookup
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn as spawn_one
from tasks_app.engine.spawn import spawn_batch
from tasks_app.errors import QueueNotFound, TaskNotFound
from tasks_app.models import Task
from tasks_app.monitoring import health as looking
from tasks_app.monitoring import queues
from tasks_app.operations import cancel as cancelling
from tasks_app.operations import reprioritize as reprioritizing
from tasks_app.operations import retry as retrying


def actor() -> str:
    """Return how events name whoever runs the program."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"client:{name}@{socket.gethostname()}"


def health(queue: str | None) -> Document:
    """Look at everything."""
    found = looking.check(queue)
    shape = HealthSerializer({"status": found.status, "message": found.message, "queue": found.queue}).data
    return {**shape, "reasons": list(found.reasons)}


def queue_names() -> list[str]:
    """Return all queues by name."""
    return all_queue_names()


def queue_stats(queue: str) -> Document:
    """Count one queue. Raises QueueNotFound."""
    if queue not in all_queue_names():
        raise QueueNotFound(queue)
    return dict(queues.queue_stats([queue])[0])


def spawn(body: Document, key: str) -> Document:
    """Spawn a task."""
    return _spawned([spawn_one(_options(body, key), actor=actor())])[0]


def spawn_many(wanted: Sequence[tuple[Document, str]]) -> list[Document]:
    """Spawn all or none. Raises ParamsInvalid with the place of each bad task before its field."""
    return _spawned(spawn_batch([_options(body, key) for body, key in wanted], actor=actor()))


def task(task_id: str) -> Document:
    """Return a task in full, also from the archive."""
    return _document(detail_of(lookup.find(_uuid(task_id))))


def cancel(task_id: str, reason: str) -> Document:
    """Cancel a task."""
    cancelling.cancel(_uuid(task_id), actor=actor(), reason=reason)
    return task(task_id)


def retry(task_id: str, reason: str) -> Document:
    """Retry a task."""
    retrying.retry(_uuid(task_id), actor=actor(), reason=reason)
    return task(task_id)


def reprioritize(task_id: str, priority: int, reason: str) -> Document:
    """Give a task another priority."""
    reprioritizing.reprioritize(_uuid(task_id), priority, actor=actor(), reason=reason)
    return task(task_id)


def page(filters: Mapping[str, Any], cursor: str | None, limit: int) -> tuple[list[Document], str | None]:
    """Return some tasks, newest first, and where the list goes on."""
    query = QueryDict(mutable=True)
    for name, value in filters.items():
        query.setlist(name, value if isinstance(value, list) else [value])
    rows = tasks_where(query).with_names().order_by("-id")
    rows = rows.defer("result", "error").annotate(error_head=Left("error", ERROR_SUMMARY_CHARS))
    if cursor is not None:
        rows = rows.filter(id__lt=int(cursor))
    found = list(rows[: limit + 1])
    following = str(found[limit - 1].pk) if len(found) > limit else None
    return _plain(TaskSummarySerializer(found[:limit], many=True).data), following


def _options(body: Document, key: str) -> TaskOptions:
    """Read the body as the API does."""
    try:
        raw = json.dumps({**body, "idempotency_key": key}, allow_nan=False).encode()
        return TaskOptions.model_validate(JsonObjectParser().parse(io.BytesIO(raw)))
    except (APIException, ValueError, TypeError) as error:
        raise RequestRefused(f"the params cannot be sent as JSON: {error}") from None


def _spawned(tasks: Sequence[Task]) -> list[Document]:
    return [_document(SpawnedSerializer(task).data) for task in as_spawned(tasks)]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise TaskNotFound(text[:100]) from None


def _document(shape: dict[str, Any]) -> Document:
    found: Document = _plain(shape)
    return found


def _plain(shape: Any) -> Any:
    """Return what a caller of the API would parse."""
    return json.loads(JSONRenderer().render(shape))
