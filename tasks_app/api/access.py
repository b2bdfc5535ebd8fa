"""Who calls, what each method of a view requires of its caller, and how many requests a caller may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from tasks_app.auth import client_address, rate_limiter
from tasks_app.auth.keys import CHALLENGE, READ, KeyHolder, Need, holder_of, is_local_reader, shown_key, user_may

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module through the settings


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts X-API-Key, or Authorization: Bearer; an invalid key is refused even beside a valid login."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, KeyHolder] | None:
        key = shown_key(request.headers)
        if not key:
            return None
        holder = holder_of(key)
        if holder is None:
            raise AuthenticationFailed("the API key is unknown, revoked or expired", code="bad_api_key")
        return AnonymousUser(), holder

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


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


class ScopedAccess(BasePermission):
    """Checks a view's `needs`, by method; by default GET needs READ, and other methods are refused."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        need = need_of(view, request.method or "")
        if need is None:
            return request.method not in view.allowed_methods  # lets the view answer 405
        if isinstance(request.auth, KeyHolder) or request.user.is_authenticated:
            check(request, need)
            return True
        return request.method in SAFE_METHODS and may_read_locally(request)


def need_of(view: object, method: str) -> Need | None:
    """Return what a method of a view requires; None: it is refused, or open to all where nothing checks it."""
    needs: dict[str, Need] = getattr(view, "needs", {})
    return needs.get(method, READ if method in SAFE_METHODS else None)


def check(request: Request, need: Need) -> None:
    """Raise PermissionDenied unless the key or the person who asks has what is needed."""
    if isinstance(request.auth, KeyHolder):
        if need.scope not in request.auth.scopes:
            raise PermissionDenied(f"the key {request.auth.name!r} lacks the scope {need.scope!r}")
    elif not user_may(request.user, need.permission):
        raise PermissionDenied(f"{request.user.get_username()} lacks the permission {need.permission!r}")


def may_read_locally(request: Request) -> bool:
    """Whether the request comes from this machine in local mode, and nobody passed it on."""
    return not client_address.is_forwarded(request.META) and is_local_reader(
        request.META.get("REMOTE_ADDR"), request.META.get("HTTP_HOST", "")
    )


def may_read(request: Request) -> bool:
    """Whether the caller may read beyond what anyone may."""
    if isinstance(request.auth, KeyHolder):
        return READ.scope in request.auth.scopes
    return user_may(request.user, READ.permission) or may_read_locally(request)
