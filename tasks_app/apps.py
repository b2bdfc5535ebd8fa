"""The queue: it knows nothing of radio astronomy."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
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
        from tasks_app.engine import task_packages

        checks.register(check_database)
        pre_migrate.connect(note_permissions, sender=self)
        post_migrate.connect(make_groups, sender=self)
        backup_task.register_name()
        if call.is_configured():
            call.register()
        task_packages.load()


def check_database(**_: Any) -> list[checks.CheckMessage]:
    """Refuse a database that is not reached through the queue's back end, whose limits and statements are needed."""
    engine = settings.DATABASES.get("default", {}).get("ENGINE")
    if engine == ENGINE:
        return []
    hint = f'Set DATABASES["default"]["ENGINE"] = "{ENGINE}": Django\'s own for PostgreSQL, extended.'
    return [checks.Error(f"the queue needs its own database back end, not {engine}", hint, id="tasks_app.E002")]
