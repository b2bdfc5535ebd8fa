"""No caller keeps the others out: so many requests a minute for each key, person and address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from tasks_app.auth import client_address, rate_limiter
from tasks_app.auth.keys import KeyHolder

if TYPE_CHECKING:
    from rest_framework.views import APIView


class CallerThrottle(BaseThrottle):
    """Counts a request under the key or the login it came with, else under its address."""

    _wait_sec: int | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        kind, name = _caller(request)
        self._wait_sec = rate_limiter.wait_sec(kind, name)
        return self._wait_sec is None

    def wait(self) -> float | None:
        return self._wait_sec


def instead_of_refusal(request: Request) -> exceptions.Throttled | None:
    """Return what is answered in place of a 401 to an address that has been refused too often; else None.

    The view's throttles come after authentication, so those who fail it never meet them.
    """
    waiting = rate_limiter.wait_sec("refused", _address(request))
    return None if waiting is None else exceptions.Throttled(waiting)


def _caller(request: Request) -> tuple[str, str]:
    if isinstance(request.auth, KeyHolder):
        return "key", request.auth.prefix or request.auth.name
    if request.user.is_authenticated:
        return "person", str(request.user.pk)
    return "address", _address(request)


def _address(request: Request) -> str:
    return client_address.address_of(request.META) or client_address.UNIX
