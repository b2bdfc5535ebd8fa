"""The routes of all operations that have a path of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rest_framework.views import APIView

from tasks_app.api.views import limits, queues, runs, schedules, system, tasks, workers
from tasks_app.api.views.operations import Answer, operation_view
from tasks_app.operations.catalogue import OPERATIONS
from tasks_app.operations.routes import route_of

_BY_KIND: Mapping[str, Answer] = {
    "task": tasks.SHOWN,
    "run": runs.COUNTED,
    "worker": workers.SHOWN,
    "queue": queues.SHOWN,
    "schedule": schedules.SHOWN,
}
_BY_NAME: Mapping[tuple[str, str], Answer] = {
    ("task", "respawn"): tasks.RESPAWNED,
    ("task", "reprioritize"): tasks.REPRIORITIZED,
    ("task", "cancel"): tasks.CANCELLED,
    ("run", "cancel"): runs.CANCELLED,
    ("schedule", "delete"): schedules.DELETED,
    ("limit", "set"): limits.SET,
    ("limit", "remove"): limits.REMOVED,
    ("schedule", "run"): schedules.SPAWNED,
    ("system", "freeze"): system.FREEZE,
    ("system", "thaw"): system.FREEZE,
    ("system", "enable"): system.STATE,
    ("system", "disable"): system.STATE,
    ("system", "emergency-stop"): system.EMERGENCY,
    ("system", "emergency-recover"): system.EMERGENCY,
    ("system", "acknowledge"): system.ACKNOWLEDGED,
}
_BASES: Mapping[tuple[str, str], type[APIView]] = {("system", "freeze"): system.FreezeStateView}


def answer_of(kind: str, name: str) -> Answer:
    """Return how the operation is answered."""
    return _BY_NAME.get((kind, name)) or _BY_KIND[kind]


def operation_views() -> dict[str, type[APIView]]:
    """Return the views of operations by their routes."""
    views = {}
    for (kind, name), operation in OPERATIONS.items():
        route = route_of(kind, name)
        if route.method == "POST":
            view = operation_view(operation, answer_of(kind, name), _BASES.get((kind, name), APIView))
            views[re.sub(r"{(\w+)}", r"<str:\1>", route.path)] = view
    return views
