"""The client's address of a request, as far as it can be trusted, for events, throttles and lockouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest

UNIX = "unix"
"""Stands in ABSURD_PROXIES for a proxy that connects over a Unix socket, and so has no address."""
FORWARDING = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")

_current: ContextVar[dict[str, str] | None] = ContextVar("absurd_peer", default=None)


def address_of(meta: Mapping[str, Any]) -> str:
    """Return the address of the client of a request, by its headers and connection; empty when there is none.

    That is the other end of the connection. Only where that is one of ABSURD_PROXIES is X-Forwarded-For trusted,
    from its end on, up to the first address that is not one of them as well.
    """
    peer = str(meta.get("REMOTE_ADDR") or "")
    if not _is_proxy(peer):
        return peer
    for part in reversed(str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
        given = part.strip()
        if not _is_address(given):
            break
        peer = given
        if not _is_proxy(given):
            break
    return peer


def address_of_scope(scope: Mapping[str, Any]) -> str:
    """Return the address of the client of a connection, by its ASGI scope."""
    given = [value.decode("latin1") for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"]
    peer = (scope.get("client") or ("",))[0]
    return address_of({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": ",".join(given)})


def client_address(request: HttpRequest) -> str | None:
    """Return the address that failed logins are counted under."""
    found = address_of(request.META)
    return found if _is_address(found) else None


def drop_untrusted_headers(meta: dict[str, Any]) -> None:
    """Remove from a request's headers what only a proxy may set: that the client came over HTTPS."""
    if not _is_proxy(str(meta.get("REMOTE_ADDR") or "")):
        meta.pop("HTTP_X_FORWARDED_PROTO", None)


def is_forwarded(meta: Mapping[str, Any]) -> bool:
    """Whether somebody passed the request on, so that the other end of the connection is not its sender."""
    return any(meta.get(name) for name in FORWARDING)


@contextmanager
def noted(meta: Mapping[str, Any], request_id: str = "") -> Iterator[None]:
    """Have all events of the block record the client's address and the request's id."""
    found = {"address": address_of(meta), "request_id": request_id}
    token = _current.set({name: value for name, value in found.items() if value})
    try:
        yield
    finally:
        _current.reset(token)


def detail() -> dict[str, str]:
    """Return the client's address and the request's id as events record them; nothing outside a request."""
    return _current.get() or {}


def _is_proxy(address: str) -> bool:
    if not settings.ABSURD_PROXIES:
        return False
    if not address:
        return UNIX in settings.ABSURD_PROXIES
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(each != UNIX and found in each for each in settings.ABSURD_PROXIES)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
