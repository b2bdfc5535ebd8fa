"""Paths of the pipeline's resources, below those of the queue; a trailing slash is accepted as well."""

from __future__ import annotations

from collections.abc import Mapping

from rest_framework.views import APIView

from pipeline_app.api import views
from pipeline_app.api.serializers import CalibrationSerializer, ProductDetailSerializer
from tasks_app.api.urls import operation_views, with_and_without_slash
from tasks_app.api.views.operations import Answer, shown_by

app_name = "pipeline_api"

_ANSWERS: Mapping[tuple[str, str] | str, Answer] = {
    "calibration": shown_by(CalibrationSerializer),
    "image": shown_by(ProductDetailSerializer),
}
"""How operations answer, by the kind of their target."""

VIEWS: dict[str, type[APIView]] = {
    "observations": views.ObservationListView,
    "observations/<int:pk>": views.ObservationView,
    "products": views.ProductListView,
    "products/<int:pk>": views.ProductView,
    "products/<int:pk>/file": views.ProductFileView,
    "products/<int:pk>/preview": views.ProductPreviewView,
    "calibrations": views.CalibrationListView,
    "calibrations/<int:pk>": views.CalibrationView,
    **{route.removeprefix("pipeline/"): view for route, view in operation_views(_ANSWERS)},
    "sources": views.SourceListView,
    "sources/<text:name>/lightcurve": views.LightCurveView,
    "sources/<text:name>/lightcurve.csv": views.LightCurveCsvView,
    "sources/<text:name>": views.SourceView,
}

urlpatterns = [pattern for route, view in VIEWS.items() for pattern in with_and_without_slash(route, view)]
