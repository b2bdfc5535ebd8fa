"""What the lists of the pipeline can be narrowed by."""

from __future__ import annotations

import django_filters  # type: ignore[import-untyped]

from pipeline_app.models import ObservationState
from tasks_app.operations.selection import StrictFilterSet, between


class ObservationFilter(StrictFilterSet):
    """Conditions on observations."""

    name = django_filters.CharFilter(lookup_expr="startswith", help_text="The beginning of the name, such as a date.")
    state = django_filters.MultipleChoiceFilter(choices=ObservationState.choices)
    role = django_filters.CharFilter(help_text="calibrator or target.")
    telescope_name = django_filters.CharFilter()
    calibrator = django_filters.CharFilter()
    run_id = django_filters.UUIDFilter()
    declination_min, declination_max = between("declination_deg", django_filters.NumberFilter, "lte")
    mjd_min, mjd_max = between("mid_mjd", django_filters.NumberFilter)


class ProductFilter(StrictFilterSet):
    """Conditions on products."""

    kind = django_filters.CharFilter()
    verdict = django_filters.CharFilter()
    task_name = django_filters.CharFilter()
    task_id = django_filters.UUIDFilter()
    run_id = django_filters.UUIDFilter()
    observation_id = django_filters.NumberFilter(field_name="observation_id")
    created_after, created_before = between("created_at")


class CalibrationFilter(StrictFilterSet):
    """Conditions on calibrations."""

    verdict = django_filters.CharFilter()
    calibrator = django_filters.CharFilter()
    observation_id = django_filters.NumberFilter(field_name="observation_id")
    declination_min, declination_max = between("declination_deg", django_filters.NumberFilter, "lte")
    mjd_min, mjd_max = between("mid_mjd", django_filters.NumberFilter)


class MeasurementFilter(StrictFilterSet):
    """Conditions on measurements of a source."""

    mjd_min, mjd_max = between("mid_mjd", django_filters.NumberFilter)
    verdict = django_filters.CharFilter()
    snr_min = django_filters.NumberFilter(field_name="snr", lookup_expr="gte")


class SourceFilter(StrictFilterSet):
    """Conditions on sources."""

    name = django_filters.CharFilter(lookup_expr="startswith", help_text="The beginning of the name.")
