"""Logins are tried a few a minute for an address and few at a time: hashing a password takes a core for a while."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.http import HttpRequest, HttpResponse

from absurd_project import lockout
from tasks_app.auth import client_address, rate_limiter

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
        yield lockout.refuse(request, waiting, "too many logins from this address; try again in a minute")
    elif not _slots.acquire(timeout=WAIT_SEC):
        yield lockout.refuse(request, RETRY_AFTER_SEC, "too many logins at once; try again in a few seconds")
    else:
        try:
            yield None
        finally:
            _slots.release()
