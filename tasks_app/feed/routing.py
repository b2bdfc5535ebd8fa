"""Paths of the sockets."""

from __future__ import annotations

from django.urls import re_path

from tasks_app.feed.consumers import StatusConsumer, UnknownPathConsumer

websocket_urlpatterns = [
    re_path(r"^ws/status/?$", StatusConsumer.as_asgi()),
    re_path(r"", UnknownPathConsumer.as_asgi()),
]
