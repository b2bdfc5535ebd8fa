"""Django behind ASGI, with each request answered in one go by one thread."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase


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
