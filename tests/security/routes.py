"""Every route of the project, read from the URL map."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import URLPattern, get_resolver
from rest_framework.permissions import SAFE_METHODS
from rest_framework.views import APIView

from tasks_app.api.access import ScopedAccess
from tasks_app.auth.keys import READ, Need

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
API = "api/absurd/"
SAMPLES = {
    "task_id": str(UUID(int=7)),
    "run_id": str(UUID(int=8)),
    "worker_id": str(UUID(int=9)),
    "queue_name": "no-queue",
    "task_name": "no-name",
    "name": "no-name",
    "scope": "key",
    "number": "1",
    "pk": "1",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one route of the API; `need` is None where anyone may."""

    method: str
    route: str
    need: Need | None

    @property
    def path(self) -> str:
        """An address of the route that leads to nothing that exists."""
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: SAMPLES[match.group(1)], self.route)

    def __str__(self) -> str:
        return f"{self.method} /{self.route}"


def patterns(resolver: Any = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern), pattern
        else:
            yield from patterns(pattern, prefix + str(pattern.pattern))


def views() -> dict[str, type[APIView]]:
    """The views of the API by route, but the one for all paths that there are not."""
    found = {route: pattern.callback for route, pattern in patterns() if route.startswith(API)}
    return {route: view.cls for route, view in found.items() if "^" not in route}


def operations() -> list[Operation]:
    return [
        Operation(method=method, route=route, need=need_of(view, method))
        for route, view in views().items()
        for method in ("GET", *UNSAFE)
        if hasattr(view, method.lower())
    ]


def need_of(view: type[APIView], method: str) -> Need | None:
    """Return what the view asks for; fails for one that has not said so."""
    if not any(issubclass(each, ScopedAccess) for each in view.permission_classes):
        return None
    need = getattr(view, "needs", {}).get(method, READ if method in SAFE_METHODS else None)
    assert need is not None, f"{view.__name__}.{method.lower()} declares no need: add it to its `needs`"
    return need
