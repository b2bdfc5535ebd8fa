"""What every view reads of a request."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from tasks_app.auth import keys
from tasks_app.auth.keys import KeyHolder
from tasks_app.engine import lookup
from tasks_app.errors import TaskNotFound
from tasks_app.models import Task

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A repeated request with the same key returns the result of the first.",
)


def actor_of(request: Request) -> str:
    """Return how events name the caller."""
    return keys.actor_of(request.user, request.auth if isinstance(request.auth, KeyHolder) else None)


def idempotency_key_of(request: Request) -> str | None:
    """Return the key under which a repeated request finds what the first one made."""
    return request.headers.get(IDEMPOTENCY_KEY.name) or None


def task_id_of(text: str) -> UUID:
    """Return the task id of a path. Raises TaskNotFound when it is not one."""
    try:
        return UUID(text)
    except ValueError:
        raise TaskNotFound(text[:100]) from None


def find_task(text: str) -> Task:
    """Return the task that a path names, also from the archive. Raises TaskNotFound."""
    return lookup.find(task_id_of(text))
