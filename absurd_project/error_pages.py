"""What the console answers where it cannot answer: why, what helps, and the way back."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404


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
