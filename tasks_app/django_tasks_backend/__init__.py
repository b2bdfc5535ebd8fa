"""A backend of Django's Tasks: functions decorated with `@task` are enqueued onto the queue and run by its workers.

`TASKS = {"default": {"BACKEND": "tasks_app.django_tasks_backend.AbsurdBackend"}}`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks_app.django_tasks_backend.backend import AbsurdBackend

__all__ = ["AbsurdBackend"]


def __getattr__(name: str) -> Any:
    """Load the backend when it is asked for: a process that uses no Django tasks need not import them."""
    if name == "AbsurdBackend":
        from tasks_app.django_tasks_backend.backend import AbsurdBackend

        return AbsurdBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
