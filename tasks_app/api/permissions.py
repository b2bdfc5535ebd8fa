"""What each method of a view asks of its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tasks_app.auth import client_address
from tasks_app.auth.keys import KeyHolder, is_local_reader, user_may
from tasks_app.auth.requirements import READ, Need

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module through the settings


class ScopedAccess(BasePermission):
    """Checks a view's `needs`, by method; reading is the need of GET where nothing else is said, others are refused."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needs: dict[str, Need] = getattr(view, "needs", {})
        need = needs.get(request.method or "", READ if request.method in SAFE_METHODS else None)
        if need is None:
            return request.method not in view.allowed_methods  # lets the view answer 405
        if isinstance(request.auth, KeyHolder) or request.user.is_authenticated:
            check(request, need)
            return True
        return request.method in SAFE_METHODS and may_read_locally(request)


def check(request: Request, need: Need) -> None:
    """Raise PermissionDenied unless the key or the person who asks has what is needed."""
    if isinstance(request.auth, KeyHolder):
        if need.scope not in request.auth.scopes:
            raise PermissionDenied(f"the key {request.auth.name!r} lacks the scope {need.scope!r}")
    elif not user_may(request.user, need.permission):
        raise PermissionDenied(f"{request.user.get_username()} lacks the permission {need.permission!r}")


def may_read_locally(request: Request) -> bool:
    """Whether the request comes from this machine in local mode, and nobody passed it on."""
    return not client_address.is_forwarded(request.META) and is_local_reader(
        request.META.get("REMOTE_ADDR"), request.META.get("HTTP_HOST", "")
    )


def may_read(request: Request) -> bool:
    """Whether the caller may read beyond what anyone may."""
    if isinstance(request.auth, KeyHolder):
        return READ.scope in request.auth.scopes
    return user_may(request.user, READ.permission) or may_read_locally(request)
