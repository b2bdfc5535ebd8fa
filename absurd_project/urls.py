"""All HTTP routes, and what is answered where none fits."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import Resolver404, include, path
from django.views.generic import RedirectView

from tasks_app.api.errors import API_ROOT, MEDIA_TYPE, RETRY_AFTER_SEC, database_outage, django_error
from tasks_app.postgresql import outages


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 403: which groups the person has, what each may do, and who can change that."""
    groups = request.user.groups.order_by("name").values_list("name", flat=True)  # type: ignore[union-attr]
    context = {"reason": str(exception or ""), "groups": list(groups) if request.user.is_authenticated else []}
    return _page(request, "admin/403.html", "Not permitted", 403, context)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form that does not belong to the session it came with."""
    context = {"reason": reason, "form_address": request.get_full_path()}
    return _page(request, "admin/403_form.html", "The form was not accepted", 403, context)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404: the path, and what the view says about it."""
    said = isinstance(exception, Http404) and not isinstance(exception, Resolver404)
    reason = str(exception) if said else ""
    return _page(request, "admin/404.html", "Page not found", 404, {"reason": reason})


def plain(request: HttpRequest, status: int, title: str, detail: str) -> HttpResponse:
    """Answer with a page that asks neither the database nor who it is: something went wrong before or because of it."""
    request_id = getattr(request, "request_id", "")
    context = {"title": title, "detail": detail, "request_id": request_id}
    return render(request, "plain_error.html", context, status=status)


def _page(request: HttpRequest, template: str, title: str, status: int, context: Mapping[str, object]) -> HttpResponse:
    everywhere = admin.site.each_context(request)
    return render(request, template, {**everywhere, "title": title, "path": request.path, **context}, status=status)


admin.autodiscover()
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
    return plain(request, 400, "Bad request", f"{detail[:1].upper()}{detail[1:]}.")


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A page or an operation that the person may not have."""
    return forbidden(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A path outside every route."""
    if request.path.startswith(API_ROOT):
        return django_error(request, 404, f"no such path: {request.path!r}")
    return not_found(request, exception)


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
    return plain(request, 500, "Server error", detail)
