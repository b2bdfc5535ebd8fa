"""HTTP to Django, sockets and event streams to the feed; a page of another site may open none."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase

from tasks_app.feed.access import refused_too_often
from tasks_app.feed.connection import Connection, Stalled, WithConnection
from tasks_app.feed.consumers import websocket_urlpatterns
from tasks_app.feed.streams import EventStreams


class OwnPagesOnly:
    """Refuses sockets from pages of other sites and other ports, and under names that are not ours.

    A page of ABSURD_ALLOWED_ORIGINS must show a key or a ticket; its cookies do not count.

    Programs send no Origin and no one's cookies: they must show a key instead.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        headers = {name.lower(): value.decode("latin1").lower() for name, value in scope["headers"]}
        origin, host = headers.get(b"origin"), headers.get(b"host", "")
        allowed = is_own_page(origin, host)
        if not allowed and origin in settings.CORS_ALLOWED_ORIGINS and is_own_name(host):
            allowed, scope = True, without_cookies(scope)
        if not allowed:
            await refused_too_often(scope)
        await (self._application if allowed else WebsocketDenier())(scope, receive, send)


def is_own_page(origin: str | None, host: str) -> bool:
    """Whether an Origin, if any, is that of our own pages, as seen by the name under which we were called."""
    return is_own_name(host) and (
        origin is None or origin in (f"http://{host}", f"https://{host}", *settings.CSRF_TRUSTED_ORIGINS)
    )


def is_own_name(host: str) -> bool:
    """Whether we were called by a name that is ours."""
    return validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)


def without_cookies(scope: Any) -> Any:
    """Return the scope as that of a caller who must show a key or a ticket."""
    return {**scope, "headers": [each for each in scope["headers"] if each[0].lower() != b"cookie"]}


def make_application() -> ProtocolTypeRouter:
    """Return the ASGI application."""
    sockets = WithConnection(OwnPagesOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))))
    return ProtocolTypeRouter({"http": EventStreams(Patient(OneThreadHandler())), "websocket": sockets})


class OneThreadHandler(ASGIHandler):
    """Runs all middleware and the view in the request's thread, one after the other.

    All of ours are synchronous. The stock handler goes back to the event loop after each part of them, seventeen times
    a request, and each time the request waits until the interpreter is free again.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the synchronous chain."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer in the request's thread."""
        return await sync_to_async(self.get_response)(request)


class Patient:
    """Holds back the next part of an answer until most of the last has been taken.

    Without it the web server would hold in memory whatever a client has asked for and does not read.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        connection = Connection(send)

        async def send_and_wait(message: Any) -> None:
            await send(message)
            if message.get("more_body"):
                await connection.ready()

        try:
            await self._application(scope, receive, send_and_wait)
        except Stalled:
            connection.abort()
