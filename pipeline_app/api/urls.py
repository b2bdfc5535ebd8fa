"""Paths of the pipeline's resources, below those of the queue; a trailing slash is accepted as well."""

from __future__ import annotations

from rest_framework.views import APIView

from pipeline_app.api.views import (
    CalibrationListView,
    CalibrationView,
    LightCurveCsvView,
    LightCurveView,
    ObservationListView,
    ObservationView,
    ProductFileView,
    ProductListView,
    ProductPreviewView,
    ProductView,
    SourceListView,
    SourceView,
)
from tasks_app.api.urls import with_and_without_slash

app_name = "pipeline_api"

VIEWS: dict[str, type[APIView]] = {
    "observations": ObservationListView,
    "observations/<int:pk>": ObservationView,
    "products": ProductListView,
    "products/<int:pk>": ProductView,
    "products/<int:pk>/file": ProductFileView,
    "products/<int:pk>/preview": ProductPreviewView,
    "calibrations": CalibrationListView,
    "calibrations/<int:pk>": CalibrationView,
    "sources": SourceListView,
    "sources/<text:name>/lightcurve": LightCurveView,
    "sources/<text:name>/lightcurve.csv": LightCurveCsvView,
    "sources/<text:name>": SourceView,
}

urlpatterns = [pattern for route, view in VIEWS.items() for pattern in with_and_without_slash(route, view)]
