"""Protection of the login: few tries an address and a name, few at a time, and what a refused person sees."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from axes.helpers import get_client_ip_address
from axes.models import AccessAttempt, AccessAttemptExpiration, AccessLog
from django.conf import settings
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from tasks_app.api.errors import MEDIA_TYPE, problem
from tasks_app.auth import client_address, rate_limiter
from tasks_app.postgresql import clock

KEPT_DAYS = 90
"""For how long it can be looked up who logged in."""


def answer(request: HttpRequest, *_: Any) -> HttpResponse:
    """Say that, and until when, no login is tried for this name from this address."""
    name = request.POST.get("username", "")
    until = _ends_at(name, get_client_ip_address(request))
    wait_sec = max(1, math.ceil((until - clock.now()).total_seconds()))
    detail = f"too many failed logins as this user from this address; try again after {until:%Y-%m-%d %H:%M:%S}Z"
    remedy = "Wait, or ask an administrator to delete the attempt."
    return refuse(request, wait_sec, detail, code="locked_out", remedy=remedy)


def refuse(
    request: HttpRequest, wait_sec: int, detail: str, *, code: str = "throttled", remedy: str | None = None
) -> HttpResponse:
    """Answer 429 in words, as a page or as a problem."""
    headers = {"Retry-After": str(wait_sec), "Cache-Control": "no-store"}
    if "json" in request.headers.get("Accept", ""):
        body = problem(request, 429, code, detail, remedy=remedy)
        return JsonResponse(body, status=429, headers=headers, content_type=MEDIA_TYPE)
    context = {**admin.site.each_context(request), "title": "Login refused", "detail": detail, "remedy": remedy}
    response = render(request, "admin/locked_out.html", context, status=429)
    for header, value in headers.items():
        response[header] = value
    return response


def clean_up() -> None:
    """Forget attempts whose lockout is over, old records of logins, and sessions that have expired."""
    moment = clock.now()
    AccessAttempt.objects.filter(expiration__expires_at__lt=moment).delete()
    AccessLog.objects.filter(attempt_time__lt=moment - timedelta(days=KEPT_DAYS)).delete()
    Session.objects.filter(expire_date__lt=moment).delete()


def _ends_at(name: str, address: str | None) -> datetime:
    of_them = AccessAttemptExpiration.objects.filter(access_attempt__username=name, access_attempt__ip_address=address)
    found: datetime | None = of_them.aggregate(last=Max("expires_at"))["last"]
    return found or clock.now() + settings.AXES_COOLOFF_TIME


SLOTS = max(1, (os.cpu_count() or 2) // 2)
WAIT_SEC = 1.0
"""How long a login waits for a slot."""
RETRY_AFTER_SEC = 2

_slots = threading.BoundedSemaphore(SLOTS)


@contextmanager
def admitted(request: HttpRequest) -> Iterator[HttpResponse | None]:
    """Yield None while the login may be tried, or the answer that refuses it."""
    waiting = rate_limiter.wait_sec("login", client_address.address_of(request.META) or client_address.UNIX)
    if waiting is not None:
        yield refuse(request, waiting, "too many logins from this address; try again in a minute")
    elif not _slots.acquire(timeout=WAIT_SEC):
        yield refuse(request, RETRY_AFTER_SEC, "too many logins at once; try again in a few seconds")
    else:
        try:
            yield None
        finally:
            _slots.release()
