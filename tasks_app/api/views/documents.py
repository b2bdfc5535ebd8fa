"""The API's description for people, from our own files, without a script or style in the page; unknown paths."""

from __future__ import annotations

from typing import Any

from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.errors import AnythingAccepted
from tasks_app.auth import content_policy


class _Page(APIView):
    """A page whose refusals are problems all the same."""

    schema = None
    url_name = "absurd_api:schema"
    content_negotiation_class = AnythingAccepted

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Render a refusal as JSON: the page's renderer knows only its template."""
        if getattr(response, "exception", False):
            request.accepted_renderer = JSONRenderer()
        return super().finalize_response(request, response, *args, **kwargs)


class SwaggerView(_Page, SpectacularSwaggerSplitView):
    """Swagger UI, in which requests can be tried."""

    template_name = "api/swagger_ui.html"


class RedocView(_Page, SpectacularRedocView):
    """Redoc, to read."""

    template_name = "api/redoc.html"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        styles = f"{content_policy.EMPTY_STYLE} {content_policy.REDOC_STYLE}"
        response[content_policy.HEADER] = content_policy.policy(style=styles)
        return response


class UnknownRouteView(APIView):
    """Answers every path that the API does not have."""

    permission_classes = [AllowAny]
    authentication_classes = []
    schema = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound(f"no such path in the API: {request.path!r}; its paths are listed at /api/absurd/schema")
