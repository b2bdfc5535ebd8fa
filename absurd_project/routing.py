"""HTTP to Django, sockets to the feed; a page of another site may open none."""

from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application

from tasks_app.routing import websocket_urlpatterns


class OwnPagesOnly(OriginValidator):  # type: ignore[misc]
    """Refuses pages of other sites. Programs send no Origin and no one's cookies: they must show a key instead."""

    def valid_origin(self, parsed_origin: Any) -> bool:
        return parsed_origin is None or bool(self.validate_origin(parsed_origin))


def make_application() -> ProtocolTypeRouter:
    """Return the ASGI application."""
    sockets = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
    return ProtocolTypeRouter(
        {"http": get_asgi_application(), "websocket": OwnPagesOnly(sockets, settings.ALLOWED_HOSTS)}
    )
