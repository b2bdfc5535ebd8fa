"""The runtime: it claims tasks and runs each in a guarded process of its own."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register


class WorkersConfig(AppConfig):
    """No models, no views: a command, a check and the diagnostic task names."""

    name = "workers"
    verbose_name = "Workers"

    def ready(self) -> None:
        from workers import diagnostics
        from workers.checks import runworker_is_ours

        register(runworker_is_ours, "workers")
        if settings.ABSURD_DIAGNOSTICS:
            diagnostics.register_all()
