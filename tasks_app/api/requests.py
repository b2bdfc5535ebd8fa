"""What views read of a request: the body, the caller, ids, the query, and what the caller has from before."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, NoReturn
from uuid import UUID

from django.db.models.expressions import RawSQL
from django.http import QueryDict
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.errors import BadQuery
from tasks_app.auth import keys
from tasks_app.auth.keys import KeyHolder
from tasks_app.engine import archive, lookup
from tasks_app.engine.lookup import VERSION
from tasks_app.engine.options import TaskOptions
from tasks_app.errors import TaskNotFound
from tasks_app.models import ArchivedTask, Task, Worker
from tasks_app.monitoring.workers import WorkerReport
from tasks_app.operations.selection import BOOLEANS, unknown_parameters

BODY_BYTES_MOST = 1_000_000
DEPTH_MOST = 50
DIGITS_MOST = 18
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A repeated request with the same key returns the result of the first.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="An ETag received before: 304 if nothing has changed."
)
_WORKER_VERSION = RawSQL('"tasks_app_worker".xmin::text || "tasks_app_worker".ctid::text', [])


class BodyTooLarge(APIException):
    """The body is larger than any task's params may be."""

    status_code = 413
    default_code = "body_too_large"
    default_detail = f"the body is larger than {BODY_BYTES_MOST} bytes"


class JsonObjectParser(BaseParser):
    """Parses a JSON object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object. Raises ParseError, or BodyTooLarge."""
        raw = stream.read(BODY_BYTES_MOST + 1)
        if len(raw) > BODY_BYTES_MOST:
            raise BodyTooLarge
        try:
            body = json.loads(raw.decode(), parse_constant=_refuse_constant)
        except RecursionError:
            raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels") from None
        except ValueError as error:
            raise ParseError(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise ParseError("the body must be a JSON object")
        _check_storable(body, 1)
        return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check_storable(value: Any, depth: int) -> None:
    if depth > DEPTH_MOST:
        raise ParseError(f"the JSON is nested deeper than {DEPTH_MOST} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ParseError("a number is too large to be stored")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check_storable(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_storable(inner, depth + 1)


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("a text contains a NUL character or half a surrogate pair, which cannot be stored")


def actor_of(request: Request) -> str:
    """Return how events name the caller."""
    return request.auth.actor if isinstance(request.auth, KeyHolder) else keys.actor_of(request.user)


def idempotency_key_of(request: Request) -> str | None:
    """Return the key under which a repeated request finds what the first one made."""
    return request.headers.get(IDEMPOTENCY_KEY.name) or None


def options_of(request: Request) -> TaskOptions:
    """Return the options in the body; the header's idempotency key counts where the body has none."""
    body, key = request.data or {}, idempotency_key_of(request)
    return TaskOptions.model_validate({"idempotency_key": key, **body} if key and isinstance(body, dict) else body)


def task_id_of(text: str) -> UUID:
    """Return the task id of a path. Raises TaskNotFound when it is not one."""
    try:
        return UUID(text)
    except ValueError:
        raise TaskNotFound(text[:100]) from None


def find_task(text: str) -> Task:
    """Return the task that a path names, also from the archive. Raises TaskNotFound."""
    return lookup.find(task_id_of(text))


# Parameters of the query


def whole(query: QueryDict, name: str, default: int | None) -> int | None:
    """Return a parameter that must be a whole number. Raises BadQuery."""
    text = query.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST):
        raise BadQuery([{"path": name, "message": f"must be a whole number (got {text[:100]!r})"}])
    return int(text)


def whole_schema(least: int, most: int = 10**DIGITS_MOST - 1) -> dict[str, Any]:
    """Return how the schema describes such a parameter."""
    return {"type": "integer", "minimum": least, "maximum": most}


def flag(query: QueryDict, name: str) -> bool:
    """Return a parameter that is true or false; absent it is false. Raises BadQuery."""
    text = query.get(name) or "false"
    if text.lower() not in BOOLEANS:
        raise BadQuery([{"path": name, "message": f"must be true or false (got {text[:100]!r})"}])
    return BOOLEANS[text.lower()]


def refuse(problems: Sequence[dict[str, str]]) -> None:
    """Raise BadQuery where there are problems."""
    if problems:
        raise BadQuery(problems)


def refuse_unknown(query: QueryDict, known: Iterable[str] = ()) -> None:
    """Raise BadQuery for a parameter that would silently be ignored."""
    refuse(unknown_parameters(query, known))


# Answers that a caller has already. Their tags are weak: what differs with the clock alone makes no new one.


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
