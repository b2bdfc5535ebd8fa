"""All HTTP routes, and what is answered where none fits."""

from __future__ import annotations

import sys

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.generic import RedirectView

from absurd_project import error_pages
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
    detail = "the request is malformed, or its Host is not one of ABSURD_HOSTS"
    detail = str(exception) if isinstance(exception, BadRequest) else detail
    if request.path.startswith(API_ROOT):
        return django_error(request, 400, detail)
    return error_pages.plain(request, 400, "Bad request", f"{detail[:1].upper()}{detail[1:]}.")


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A page or an operation that the person may not have."""
    return error_pages.forbidden(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A path outside every route."""
    if request.path.startswith(API_ROOT):
        return django_error(request, 404, f"no such path: {request.path!r}")
    return error_pages.not_found(request, exception)


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
    detail = "An unexpected error happened on the server."
    return error_pages.plain(request, 500, "Server error", detail)
