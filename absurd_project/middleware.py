"""Headers on every answer, the request's id and what a page may load; and from where what happens was caused.

And no request with a NUL character, which PostgreSQL cannot store or compare, reaches a view.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from servestatic.middleware import ServeStaticMiddleware  # type: ignore[import-untyped]

from absurd_project import log_lines
from tasks_app import tracing
from tasks_app.api.errors import API_ROOT
from tasks_app.auth import client_address, content_policy
from tasks_app.auth.keys import actor_of
from tasks_app.monitoring import health

REQUEST_ID = "X-Request-ID"
access = logging.getLogger("absurd.access")
_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


GetResponse = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]


def _mark(request: HttpRequest) -> str:
    given = request.headers.get(REQUEST_ID, "")
    found = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
    request.request_id = found  # type: ignore[attr-defined]
    client_address.drop_untrusted_headers(request.META)
    return found


def _finish(request: HttpRequest, response: HttpResponseBase, request_id: str, started: float) -> HttpResponseBase:
    response.headers[REQUEST_ID] = request_id
    if request.path.startswith(API_ROOT):
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault(content_policy.HEADER, content_policy.policy())
    if settings.ABSURD_ACCESS_LOG:
        _log_access(request, response, time.monotonic() - started)
    return response


def _log_access(request: HttpRequest, response: HttpResponseBase, duration_sec: float) -> None:
    """Log who asked for what; without the query, which may hold a ticket or what somebody looked for."""
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "duration_ms": round(duration_sec * 1000),
        "address": client_address.address_of(request.META),
        "caller": _caller(request),
    }
    access.info("%s", " ".join(str(value) for value in fields.values() if value != ""), extra={"fields": fields})


def _caller(request: HttpRequest) -> str:
    """Return the key or the person, as far as it was looked up for the answer."""
    if actor := getattr(getattr(request, "auth", None), "actor", ""):
        return str(actor)
    user = getattr(request, "_cached_user", None)
    return actor_of(user) if user is not None and user.is_authenticated else ""


@sync_and_async_middleware
def answer_headers(get_response: GetResponse) -> GetResponse:
    """Take over the caller's X-Request-ID or make one, forbid pages all but our own files, and note the caller."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            request_id, started = _mark(request), time.monotonic()
            with client_address.noted(request.META, request_id), log_lines.of_request(request_id):
                return _finish(request, await get_response(request), request_id, started)

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        request_id, started = _mark(request), time.monotonic()
        with client_address.noted(request.META, request_id), log_lines.of_request(request_id):
            return _finish(request, get_response(request), request_id, started)  # type: ignore[arg-type]

    return synchronous


def traced(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Make each request a span, below the caller's own; only where spans are recorded."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        about = {"http.request.method": request.method, "url.path": request.path}
        about["absurd.request_id"] = getattr(request, "request_id", "")
        parent = request.headers.get("traceparent", "")
        with tracing.span(f"{request.method}", "server", parent=parent, attributes=about) as span:
            response = get_response(request)
            span.update_name(f"{request.method} /{getattr(request.resolver_match, 'route', '')}")
            span.set_attribute("http.response.status_code", response.status_code)
            return response

    return answer


ALIVE, READY = "/healthz", "/readyz"


def probe(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer the probes of a service manager, which have no host name, TLS or key, with one word.

    /healthz is 200 as long as the process answers; /readyz is 503 when the system is unhealthy or disabled.
    """

    def answer(request: HttpRequest) -> HttpResponseBase:
        if request.path_info not in (ALIVE, READY):
            return get_response(request)
        found = health.check()
        ready = request.path_info == ALIVE or found.status not in ("unhealthy", "disabled")
        headers = {"Cache-Control": "no-store"}
        return HttpResponse(
            f"{found.status}\n", status=200 if ready else 503, content_type="text/plain", headers=headers
        )

    return answer


FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def refuse_nul(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer 400 to a NUL in the path, the query, a cookie or a form; the API takes none and checks its JSON."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            raise BadRequest("the address contains a NUL character (%00)")
        if any("\0" in value for value in request.COOKIES.values()):
            raise BadRequest("a cookie contains a NUL character")
        is_form = request.content_type in FORMS and not request.path.startswith(API_ROOT)
        if is_form and any("\0" in each for _, values in request.POST.lists() for each in values):
            raise BadRequest("a field of the form contains a NUL character")
        return get_response(request)

    return answer


class StaticFiles:
    """Answers with a static file where the path is that of one.

    ServeStatic's own middleware would take every request to the event loop and back only to look the path up.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._static = ServeStaticMiddleware(sync_to_async(get_response))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve one request."""
        file = self._static.files.get(request.path_info)
        return self._get_response(request) if file is None else async_to_sync(self._static.aserve)(file, request)
