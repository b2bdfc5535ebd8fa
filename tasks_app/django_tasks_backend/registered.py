"""Which Django tasks may be called: those found in the modules that the site names, never in one that a caller names.

The modules are `tasks` of every installed application and those of `ABSURD_DJANGO_TASK_MODULES`. They are imported
when a Django task is first looked up.
"""

from __future__ import annotations

import difflib
import logging
import sys
from functools import cache
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import module_has_submodule

from tasks_app.django_tasks_backend.interface import Task

HOW = "put it into the module `tasks` of an installed application, or name its module in ABSURD_DJANGO_TASK_MODULES"

logger = logging.getLogger(__name__)


def find(path: str) -> Task[Any, Any] | None:
    """Return the registered task of this path, or None."""
    return _tasks_in(_modules()).get(path)


def unknown(path: str) -> str:
    """Return in words that there is no such task, and how one is registered."""
    near = difflib.get_close_matches(path, _tasks_in(_modules()), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else HOW
    return f"{path} is not a registered Django task: {hint}"


def _modules() -> tuple[str, ...]:
    of_apps = [
        f"{app.name}.tasks"
        for app in apps.get_app_configs()
        if app.module and module_has_submodule(app.module, "tasks")
    ]
    return (*of_apps, *settings.ABSURD_DJANGO_TASK_MODULES)


@cache
def _tasks_in(modules: tuple[str, ...]) -> dict[str, Task[Any, Any]]:
    """Return the tasks in these modules, by path. A module that cannot be imported is logged and left out."""
    found: dict[str, Task[Any, Any]] = {}
    for name in modules:
        try:
            values = list(vars(import_module(name)).values())
        except Exception:
            logger.exception("the Django tasks of module %s cannot be used: it cannot be imported", name)
            continue
        found |= {each.module_path: each for each in values if isinstance(each, Task) and _stands_at_its_path(each)}
    return found


def _stands_at_its_path(task: Task[Any, Any]) -> bool:
    module = sys.modules.get(task.func.__module__)
    return getattr(module, task.func.__qualname__, None) is task
