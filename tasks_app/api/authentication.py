"""Who calls: the API key is checked here, and the requests of each caller are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from tasks_app.auth import client_address, rate_limiter
from tasks_app.auth.keys import KeyHolder, holder_of

if TYPE_CHECKING:
    from rest_framework.views import APIView

HEADER = "X-API-Key"


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts the header X-API-Key; an invalid key is refused even beside a valid login."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, KeyHolder] | None:
        key = request.headers.get(HEADER)
        if not key:
            return None
        holder = holder_of(key)
        if holder is None:
            raise AuthenticationFailed("the API key is unknown, revoked or expired", code="bad_api_key")
        return AnonymousUser(), holder

    def authenticate_header(self, request: Request) -> str:
        return f'ApiKey realm="absurd", header="{HEADER}"'


class CallerThrottle(BaseThrottle):
    """Counts a request under the key or the login it came with, else under its address."""

    _wait_sec: int | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        kind, name = _caller(request)
        self._wait_sec = rate_limiter.wait_sec(kind, name)
        return self._wait_sec is None

    def wait(self) -> float | None:
        return self._wait_sec


def throttled_refusal(request: Request) -> Throttled | None:
    """Count a 401; return the 429 that replaces it for an address that was refused too often, else None.

    The view's throttles come after authentication, so failed authentication is counted here.
    """
    waiting = rate_limiter.wait_sec("refused", _address(request))
    return None if waiting is None else Throttled(waiting)


def _caller(request: Request) -> tuple[str, str]:
    if isinstance(request.auth, KeyHolder):
        return "key", request.auth.prefix or request.auth.name
    if request.user.is_authenticated:
        return "person", str(request.user.pk)
    return "address", _address(request)


def _address(request: Request) -> str:
    return client_address.address_of(request.META) or client_address.UNIX
