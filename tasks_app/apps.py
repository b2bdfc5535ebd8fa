"""The queue: it knows nothing of radio astronomy. Task names of other packages are registered when it is ready.

An installed package declares its module as an entry point of the group `absurd.tasks`; any other that can be imported
is named in ABSURD_TASK_MODULES. Web processes, workers and commands import them at start; a child imports the handler.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate, pre_migrate

from tasks_app import defaults

ENGINE = "tasks_app.postgresql"


class TasksConfig(AppConfig):
    """Tasks, attempts, events, queues and workers."""

    name = "tasks_app"
    verbose_name = "Queue"

    def __init__(self, app_name: str, app_module: ModuleType) -> None:
        super().__init__(app_name, app_module)
        defaults.apply()  # before any module of an application is imported

    def ready(self) -> None:
        from tasks_app.auth.roles import make_groups, note_permissions
        from tasks_app.backup import task as backup_task
        from tasks_app.django_tasks_backend import call

        checks.register(check_database)
        pre_migrate.connect(note_permissions, sender=self)
        post_migrate.connect(make_groups, sender=self)
        backup_task.register_name()
        if call.is_configured():
            call.register()
        load_task_packages()


def check_database(**_: Any) -> list[checks.CheckMessage]:
    """Refuse a database that is not reached through the queue's back end, whose limits and statements are needed."""
    engine = settings.DATABASES.get("default", {}).get("ENGINE")
    if engine == ENGINE:
        return []
    hint = f'Set DATABASES["default"]["ENGINE"] = "{ENGINE}": Django\'s own for PostgreSQL, extended.'
    return [checks.Error(f"the queue needs its own database back end, not {engine}", hint, id="tasks_app.E002")]


GROUP = "absurd.tasks"

logger = logging.getLogger(__name__)


def load_task_packages() -> None:
    """Import every module that registers task names.

    An installed one that fails is logged and left out, so that it stops nobody's tasks but its own. Raises
    ImproperlyConfigured for one that ABSURD_TASK_MODULES names.
    """
    for name in settings.ABSURD_TASK_MODULES:
        try:
            import_module(name)
        except Exception as error:
            fault = f"ABSURD_TASK_MODULES={name!r} cannot be imported: {type(error).__name__}: {error}"
            raise ImproperlyConfigured(f"{fault}; install it, or add its directory to PYTHONPATH") from error
    for found in entry_points(group=GROUP):
        try:
            found.load()
        except Exception:
            package = found.dist.name if found.dist else "?"
            logger.exception("the task names of package %s (%s) cannot be used", package, found.value)
