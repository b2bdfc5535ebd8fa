"""The logs of attempts: whole, by ranges of bytes, the last lines, and as they grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from channels.db import database_sync_to_async
from django.db import Error
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks_app.api.errors import AnythingAccepted, BadQuery
from tasks_app.api.requests import find_task, flag, refuse_unknown, whole, whole_schema
from tasks_app.engine import archive
from tasks_app.feed import logs
from tasks_app.files.bounded_calls import in_time
from tasks_app.files.http_streaming import Window, send_file, send_window, size_and_time, streamed
from tasks_app.models import Attempt, Task

TYPE = "text/plain; charset=utf-8"
LINES_MOST = 100_000
SIZE, KEPT = "X-Absurd-Log-Size", "X-Absurd-Log-Kept"
HOST, REASON = "X-Absurd-Log-Host", "X-Absurd-Log-Reason"
PARAMETERS = [
    OpenApiParameter("tail", whole_schema(1, LINES_MOST), description="Number of last lines to send."),
    OpenApiParameter("offset", whole_schema(0), description="Start at this byte, to continue after a lost connection."),
    OpenApiParameter(
        "follow", bool, description="Keep sending new lines until the attempt ends, for ten minutes at most."
    ),
    OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=…, one range."),
]
RESPONSES = {(200, "text/plain"): str, (206, "text/plain"): str}
DESCRIPTION = (
    f"A log on another host is fetched from a worker there; {HOST} names the host. If it cannot be had, the last lines "
    f"stored in the database are sent, with the headers {KEPT}: tail and {REASON}; 404 if there are none."
)


class _LogView(APIView):
    content_negotiation_class = AnythingAccepted

    def answer(self, request: Request, attempt: Attempt) -> HttpResponseBase:
        """Send the log as the query and the Range header ask for it."""
        query = request.query_params
        refuse_unknown(query, {"tail", "offset", "follow"})
        lines, offset = whole(query, "tail", None), whole(query, "offset", None)
        if lines is not None and not 1 <= lines <= LINES_MOST:
            raise BadQuery([{"path": "tail", "message": f"must be between 1 and {LINES_MOST} (got {lines})"}])
        follow = flag(query, "follow")
        try:
            file = logs.open_log(attempt)
        except OSError as error:
            return _kept(attempt, lines, str(error))
        place = Path(file.name)
        size, _ = in_time(place, size_and_time, file)
        headers = {SIZE: str(size), HOST: _host_of(attempt), "Cache-Control": "no-cache"}
        start = min(offset or 0, size)
        if lines is not None:
            start = in_time(place, logs.start_of_tail, file, lines)
        if follow:
            parts = logs.read_until_end(file, start, _ended(attempt.task_id, attempt.number))
            headers["X-Accel-Buffering"] = "no"
            return streamed(parts, file, content_type=TYPE, headers=headers)
        if lines is None and offset is None:
            return send_file(file, content_type=TYPE, headers=headers, request_headers=request.headers)
        return send_window(file, Window(start=start, length=size - start), content_type=TYPE, headers=headers)


def _host_of(attempt: Attempt) -> str:
    return attempt.worker.host if attempt.worker else "an unknown host"


def _kept(attempt: Attempt, lines: int | None, reason: str) -> HttpResponse:
    host = _host_of(attempt)
    if not attempt.log_tail:
        raise NotFound(
            f"the log of {attempt} cannot be read, and the database stores none of it; it ran on {host}: {reason}"
        )
    text = attempt.log_tail if lines is None else "\n".join(attempt.log_tail.splitlines()[-lines:])
    # Django encodes what is not ASCII as RFC 2047 says.
    headers = {KEPT: "tail", HOST: host, REASON: " ".join(reason.split()), "Cache-Control": "no-cache"}
    return HttpResponse(text, content_type=TYPE, headers=headers)


def _ended(task_id: UUID, number: int) -> Any:
    @database_sync_to_async
    def has_ended() -> bool:
        try:
            return not Attempt.objects.filter(task_id=task_id, number=number, ended_at=None).exists()
        except Error:
            return False

    return has_ended


def _attempts(task: Task, number: int | None) -> Attempt:
    """Return the attempt of that number, or the last one. Raises NotFound."""
    if archive.is_archived(task):
        found = [each for each in archive.attempts_of(task.task_id) if number in (None, each.number)]
    else:
        rows = Attempt.objects.filter(task_id=task.task_id).select_related("worker")
        found = list((rows if number is None else rows.filter(number=number)).order_by("-number")[:1])[::-1]
    if not found:
        raise NotFound(f"task {task.task_id} has {'not been attempted' if number is None else f'no attempt {number}'}")
    return found[-1]


class TaskLogView(_LogView):
    """The log of a task's last attempt."""

    @extend_schema(operation_id="task_log", parameters=PARAMETERS, responses=RESPONSES, description=DESCRIPTION)
    def get(self, request: Request, task_id: str) -> HttpResponseBase:
        return self.answer(request, _attempts(find_task(task_id), None))


class AttemptLogView(_LogView):
    """The log of one attempt."""

    @extend_schema(operation_id="attempt_log", parameters=PARAMETERS, responses=RESPONSES, description=DESCRIPTION)
    def get(self, request: Request, task_id: str, number: int) -> HttpResponseBase:
        return self.answer(request, _attempts(find_task(task_id), number))
