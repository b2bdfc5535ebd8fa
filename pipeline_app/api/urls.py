"""Paths of the pipeline's resources, below those of the queue; a trailing slash is accepted as well."""

from __future__ import annotations

from rest_framework.views import APIView

from pipeline_app.api import views
from tasks_app.api.urls import with_and_without_slash

app_name = "pipeline_api"

VIEWS: dict[str, type[APIView]] = {
    "observations": views.ObservationListView,
    "observations/<int:pk>": views.ObservationView,
    "products": views.ProductListView,
    "products/<int:pk>": views.ProductView,
    "products/<int:pk>/file": views.ProductFileView,
    "products/<int:pk>/preview": views.ProductPreviewView,
    "calibrations": views.CalibrationListView,
    "calibrations/<int:pk>": views.CalibrationView,
    "sources": views.SourceListView,
    "sources/<text:name>/lightcurve": views.LightCurveView,
    "sources/<text:name>/lightcurve.csv": views.LightCurveCsvView,
    "sources/<text:name>": views.SourceView,
}

urlpatterns = [pattern for route, view in VIEWS.items() for pattern in with_and_without_slash(route, view)]
