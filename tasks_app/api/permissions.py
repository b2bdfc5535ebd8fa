"""What each method of a view asks of its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tasks_app.access import peer
from tasks_app.access.keys import KeyHolder, Scope, is_local_reader, user_may

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module through the settings


@dataclass(frozen=True, kw_only=True)
class Need:
    """The scope that a key must have, and the Django permission that a person must have."""

    scope: Scope
    permission: str


READ = Need(scope="read", permission="tasks_app.view_task")
SPAWN = Need(scope="spawn", permission="tasks_app.spawn_task")
CANCEL = Need(scope="operate", permission="tasks_app.cancel_task")
RETRY = Need(scope="operate", permission="tasks_app.retry_task")
REPRIORITIZE = Need(scope="operate", permission="tasks_app.reprioritize_task")
PAUSE = Need(scope="operate", permission="tasks_app.pause_queue")
CANCEL_RUN = Need(scope="operate", permission="tasks_app.cancel_run")
RETRY_RUN = Need(scope="operate", permission="tasks_app.retry_run")
BULK = Need(scope="operate", permission="tasks_app.retry_task")
"""The verb itself needs its own permission as well."""
RESPAWN = Need(scope="spawn", permission="tasks_app.respawn_task")
REQUEUE = Need(scope="operate", permission="tasks_app.requeue_task")
FREEZE = Need(scope="operate", permission="tasks_app.freeze_everything")
EMERGENCY = Need(scope="admin", permission="tasks_app.change_freeze")
SET_LIMIT = Need(scope="admin", permission="tasks_app.set_limit")
CHANGE_SCHEDULE = Need(scope="admin", permission="tasks_app.change_schedule")
DELETE_SCHEDULE = Need(scope="admin", permission="tasks_app.delete_schedule")
ORDER_WORKER = Need(scope="operate", permission="tasks_app.order_worker")
RUN_SCHEDULE = Need(scope="operate", permission="tasks_app.run_schedule")


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
    return not peer.is_forwarded(request.META) and is_local_reader(
        request.META.get("REMOTE_ADDR"), request.META.get("HTTP_HOST", "")
    )


def may_read(request: Request) -> bool:
    """Whether the caller may read beyond what anyone may."""
    if isinstance(request.auth, KeyHolder):
        return READ.scope in request.auth.scopes
    return user_may(request.user, READ.permission) or may_read_locally(request)
