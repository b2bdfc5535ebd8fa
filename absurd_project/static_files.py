"""Our own files: scripts, styles and icons of the console and the API's documents."""

from __future__ import annotations

from collections.abc import Callable

from asgiref.sync import async_to_sync, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware  # type: ignore[import-untyped]


class StaticFiles:
    """Answers with a static file where the path is that of one.

    ServeStatic's own middleware would take every request to the event loop and back only to look the path up.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._static = ServeStaticMiddleware(sync_to_async(get_response))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve one request."""
        file = self._static.files.get(request.path_info)
        return self._get_response(request) if file is None else async_to_sync(self._static.aserve)(file, request)
