"""DSA-110 as data and stages."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings


class PipelineConfig(AppConfig):
    """Observations, products and the stages that make them."""

    name = "pipeline_app"
    verbose_name = "Pipeline"

    def ready(self) -> None:
        from pipeline_app import operations, pace
        from pipeline_app.registration import register_stages
        from pipeline_app.workflows import register_workflow

        register_stages(diagnostics=settings.ABSURD_DIAGNOSTICS)
        register_workflow()
        pace.register()
        operations.register()
