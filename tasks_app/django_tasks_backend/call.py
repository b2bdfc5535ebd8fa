"""The one task name under which all Django tasks are queued; its params say which function is called with what."""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field

from tasks_app.engine import registry
from tasks_app.engine.registry import Problem, TaskSpec

NAME = "django-task"
PACKAGE = "tasks_app.django_tasks_backend"
DJANGO_PRIORITY_MOST = 100
PRIORITY_LEAST, PRIORITY_DEFAULT, PRIORITY_MOST = 1, 5, 20
PATH = r"^[^\W\d]\w*(\.[^\W\d]\w*)+$"


class Call(BaseModel):
    """A call of a Django task, with what Django's Task was when it was enqueued."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    function: str = Field(
        pattern=PATH, max_length=500, description="Module and name of a function decorated with @task."
    )
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(default=0, ge=-100, le=100, description="Django's priority; the queue's is made from it.")
    queue_name: str = Field(default="default", description="Django's queue name.")
    run_after: str | None = None
    backend: str = "default"

    def stored(self) -> dict[str, Any]:
        """The call as the task's params: whatever is as always is left out."""
        return self.model_dump(exclude_defaults=True)


def check(params: BaseModel) -> list[Problem]:
    """Return a problem when the function is no registered Django task."""
    # The package that defines Django's tasks is loaded only where there are some.
    from tasks_app.django_tasks_backend import registered

    path = getattr(params, "function", None)
    if path is None or registered.find(path) is not None:
        return []
    return [Problem(path="params.function", message=registered.unknown(path))]


SPEC = TaskSpec(
    name=NAME,
    handler=f"{PACKAGE}.running:run",
    params_model=Call,
    check_params=check,
    description="Calls a function that was decorated with Django's @task",
    isolation="thread",
    memory_gb=0.0,
    max_retries=0,
)


def priority_of(django_priority: int) -> int:
    """Return the queue's priority: −100 is 1, 0 the default 5, 100 is 20, and straight lines between."""
    steps = PRIORITY_MOST - PRIORITY_DEFAULT if django_priority > 0 else PRIORITY_DEFAULT - PRIORITY_LEAST
    return PRIORITY_DEFAULT + math.floor(django_priority * steps / DJANGO_PRIORITY_MOST + 0.5)


def register() -> None:
    """Make the task name known in this process."""
    registry.register(SPEC)


def is_configured() -> bool:
    """Whether the settings hand Django's tasks to the queue."""
    backends = getattr(settings, "TASKS", {}).values()
    return any(str(backend.get("BACKEND", "")).startswith(PACKAGE) for backend in backends)
