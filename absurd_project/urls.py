"""All HTTP routes, and what is answered where none fits."""

from __future__ import annotations

import sys

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views import defaults
from django.views.generic import RedirectView

from tasks_app.api.errors import API_ROOT, MEDIA_TYPE, RETRY_AFTER_SEC, database_outage, django_error
from tasks_app.postgresql import outages

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/absurd/pipeline/", include("pipeline_app.api.urls")),
    path("api/absurd/", include("tasks_app.api.urls")),
]


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that Django itself refuses, such as one under a strange host name."""
    if request.path.startswith(API_ROOT):
        detail = "the request is malformed, or its Host is not one of ABSURD_HOSTS"
        return django_error(request, 400, str(exception) if isinstance(exception, BadRequest) else detail)
    return defaults.bad_request(request, exception)  # type: ignore[arg-type,return-value]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A path outside every route."""
    if request.path.startswith(API_ROOT):
        return django_error(request, 404, f"no such path: {request.path!r}")
    return defaults.page_not_found(request, exception)  # type: ignore[return-value]


def _outage(request: HttpRequest, error: BaseException) -> HttpResponse:
    body, headers = database_outage(request, error), {"Retry-After": RETRY_AFTER_SEC}
    if request.path.startswith(API_ROOT):
        return JsonResponse(body, status=503, content_type=MEDIA_TYPE, headers=headers)
    text = f"{body['detail']}. {body['remedy']}\n"
    return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8", headers=headers)


def handler500(request: HttpRequest) -> HttpResponse:
    """An error outside every API view; an outage of the database is one to try again after."""
    error = sys.exc_info()[1]
    if error is not None and outages.is_outage(error):
        return _outage(request, error)
    if request.path.startswith(API_ROOT):
        return django_error(request, 500, "an unexpected error happened on the server")
    return defaults.server_error(request)  # type: ignore[return-value]
