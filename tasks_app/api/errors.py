"""Every error as application/problem+json (RFC 9457), with a stable code and the request's id."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, DataError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import errors
from tasks_app.api.access import throttled_refusal
from tasks_app.postgresql import outages

MEDIA_TYPE = "application/problem+json"
API_ROOT = "/api/"
RETRY_AFTER_SEC = "5"

logger = logging.getLogger(__name__)

_STATUS_OF: Mapping[type[errors.AbsurdError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.RangeNotSatisfiable: 416,
    errors.Invalid: 422,
    errors.TryLater: 503,
}
_REMEDY_OF = {
    "not_authenticated": "Send the header X-API-Key or Authorization: Bearer, or log in to the console.",
    "bad_api_key": "Ask an administrator for a new key.",
    "throttled": "Wait for the seconds in Retry-After; ABSURD_THROTTLE sets the requests allowed per minute.",
    "permission_denied": "Ask an administrator for the scope or permission named in the detail.",
    "database_unavailable": "Try again shortly; if it persists, start PostgreSQL or correct ABSURD_DATABASE_URL.",
    "database_refuses_writes": "Try again shortly; if it persists, check its disk, and whether it is a standby.",
    "internal_error": "Report the request id to the administrator of this server; its log has the cause.",
}


class BadQuery(exceptions.APIException):
    """The query string has an unknown name or a wrong value; `problems` gives the path and fault of each."""

    status_code = 400
    default_code = "bad_query"

    def __init__(self, problems: Sequence[Mapping[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{p['path']}: {p['message']}" for p in self.problems))


class AnythingAccepted(DefaultContentNegotiation):
    """For views that answer with files: whatever the caller accepts, errors are problems."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        first = next(iter(renderers))
        return first, str(first.media_type)


def problem(request: Any, status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """Return the members of a problem document."""
    found = {
        "type": f"urn:absurd:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "remedy": extra.pop("remedy", None) or _REMEDY_OF.get(code),
        "request_id": getattr(request, "request_id", ""),
        **extra,
    }
    return {name: value for name, value in found.items() if value is not None}


def problem_response(exception: Exception, context: Mapping[str, Any]) -> Response:
    """Turn whatever a view raised into a problem; nothing of an unexpected error's text leaves the server."""
    request: Request = context["request"]
    if isinstance(exception, (exceptions.NotAuthenticated, exceptions.AuthenticationFailed)):
        exception = throttled_refusal(request) or exception
    body, headers = _describe(exception, request)
    return Response(body, status=body["status"], headers=headers, content_type=MEDIA_TYPE)


def _describe(exception: Exception, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
    if isinstance(exception, errors.AbsurdError):
        return _describe_ours(exception, request), _headers_of(exception)
    if isinstance(exception, Http404):
        exception = exceptions.NotFound(str(exception) or None)
    if isinstance(exception, DjangoPermissionDenied):
        exception = exceptions.PermissionDenied(str(exception) or None)
    if isinstance(exception, exceptions.APIException):
        return _describe_framework(exception, request)
    if isinstance(exception, RequestDataTooBig):
        return problem(request, 413, "body_too_large", "the body is larger than this server accepts"), {}
    if isinstance(exception, SuspiciousOperation):
        return problem(request, 400, "bad_request", "the request is malformed"), {}
    if isinstance(exception, DataError):
        return problem(request, 422, "not_storable", "a value of the request cannot be stored"), {}
    if outages.is_outage(exception):
        return database_outage(request, exception), {"Retry-After": RETRY_AFTER_SEC}
    logger.error("request %s failed", getattr(request, "request_id", ""), exc_info=exception)
    if isinstance(exception, DatabaseError):
        detail = "the database answered with an error"
        return problem(request, 503, "database_unavailable", detail), {"Retry-After": RETRY_AFTER_SEC}
    return problem(request, 500, "internal_error", "an unexpected error happened on the server"), {}


def database_outage(request: Any, error: BaseException) -> dict[str, Any]:
    """Return the problem for an outage of the database, and log one line on it; its text stays in the log."""
    logger.error("request %s failed: %s", getattr(request, "request_id", ""), outages.describe(error))
    if outages.refuses_writes(error):
        return problem(request, 503, "database_refuses_writes", "the database refuses writes")
    return problem(request, 503, "database_unavailable", "the database answered with an error")


def _describe_ours(error: errors.AbsurdError, request: Request) -> dict[str, Any]:
    extra: dict[str, Any] = {"remedy": error.remedy}
    if isinstance(error, errors.InvalidTransition):
        extra["current_status"] = str(error.current)
    if isinstance(error, errors.SelectionChanged):
        extra["count"] = error.count
    if isinstance(error, errors.ParamsInvalid):
        extra["errors"] = error.problems
    if isinstance(error, errors.UnknownTaskName):
        extra["errors"] = [{"path": "task_name", "message": str(error)}]
    status = next((_STATUS_OF[kind] for kind in type(error).__mro__ if kind in _STATUS_OF), 500)
    return problem(request, status, error.code, str(error), **extra)


def _headers_of(error: errors.AbsurdError) -> dict[str, str]:
    if isinstance(error, errors.RangeNotSatisfiable):
        return {"Content-Range": f"bytes */{error.size}"}
    return {"Retry-After": "30"} if isinstance(error, errors.TooSlow | errors.FilesBusy) else {}


def _describe_framework(error: exceptions.APIException, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {}
    if scheme := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = scheme
    if wait_sec := getattr(error, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait_sec))
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else error.default_code
    extra = {"errors": error.problems} if isinstance(error, BadQuery) else {}
    return problem(request, error.status_code, code, str(error.detail), **extra), headers


def django_error(request: HttpRequest, status: int, detail: str) -> JsonResponse:
    """Answer outside any view, for Django's own error handlers."""
    code = {400: "bad_request", 403: "permission_denied", 404: "not_found"}.get(status, "internal_error")
    return JsonResponse(problem(request, status, code, detail), status=status, content_type=MEDIA_TYPE)
