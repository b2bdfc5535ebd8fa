"""What the lists of the pipeline can be narrowed by."""

from __future__ import annotations

import django_filters  # type: ignore[import-untyped]

from pipeline_app.models import Calibration, Measurement, Observation, ObservationState, Product
from tasks_app.operations.selection import StrictFilterSet


class ObservationFilter(StrictFilterSet):
    """Conditions on observations."""

    name = django_filters.CharFilter(lookup_expr="startswith", help_text="The beginning of the name, such as a date.")
    state = django_filters.MultipleChoiceFilter(choices=ObservationState.choices)
    role = django_filters.CharFilter(help_text="calibrator or target.")
    telescope_name = django_filters.CharFilter()
    calibrator = django_filters.CharFilter()
    run_id = django_filters.UUIDFilter()
    declination_min = django_filters.NumberFilter(field_name="declination_deg", lookup_expr="gte")
    declination_max = django_filters.NumberFilter(field_name="declination_deg", lookup_expr="lte")
    mjd_min = django_filters.NumberFilter(field_name="mid_mjd", lookup_expr="gte")
    mjd_max = django_filters.NumberFilter(field_name="mid_mjd", lookup_expr="lt")

    class Meta:
        model = Observation
        fields: list[str] = []


class ProductFilter(StrictFilterSet):
    """Conditions on products."""

    kind = django_filters.CharFilter()
    verdict = django_filters.CharFilter()
    task_name = django_filters.CharFilter()
    task_id = django_filters.UUIDFilter()
    run_id = django_filters.UUIDFilter()
    observation_id = django_filters.NumberFilter(field_name="observation_id")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Product
        fields: list[str] = []


class CalibrationFilter(StrictFilterSet):
    """Conditions on calibrations."""

    verdict = django_filters.CharFilter()
    calibrator = django_filters.CharFilter()
    observation_id = django_filters.NumberFilter(field_name="observation_id")
    declination_min = django_filters.NumberFilter(field_name="declination_deg", lookup_expr="gte")
    declination_max = django_filters.NumberFilter(field_name="declination_deg", lookup_expr="lte")
    mjd_min = django_filters.NumberFilter(field_name="mid_mjd", lookup_expr="gte")
    mjd_max = django_filters.NumberFilter(field_name="mid_mjd", lookup_expr="lt")

    class Meta:
        model = Calibration
        fields: list[str] = []


class MeasurementFilter(StrictFilterSet):
    """Conditions on measurements of a source."""

    mjd_min = django_filters.NumberFilter(field_name="mid_mjd", lookup_expr="gte")
    mjd_max = django_filters.NumberFilter(field_name="mid_mjd", lookup_expr="lt")
    verdict = django_filters.CharFilter()
    snr_min = django_filters.NumberFilter(field_name="snr", lookup_expr="gte")

    class Meta:
        model = Measurement
        fields: list[str] = []


class SourceFilter(StrictFilterSet):
    """Conditions on sources."""

    name = django_filters.CharFilter(lookup_expr="startswith", help_text="The beginning of the name.")

    class Meta:
        model = Measurement
        fields: list[str] = []
