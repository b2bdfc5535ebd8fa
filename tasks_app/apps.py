"""The queue: it knows nothing of radio astronomy."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class TasksConfig(AppConfig):
    """Tasks, attempts, events, queues and workers."""

    name = "tasks_app"
    verbose_name = "Queue"

    def ready(self) -> None:
        from tasks_app.auth.roles import make_groups, note_permissions
        from tasks_app.django_tasks_backend import call

        pre_migrate.connect(note_permissions, sender=self)
        post_migrate.connect(make_groups, sender=self)
        if call.is_configured():
            call.register()
