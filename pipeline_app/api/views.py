"""The pipeline's resources: observations, calibrations, products with their files, sources with their light curves."""

from __future__ import annotations

import csv
import io
from typing import Any

import django_filters  # type: ignore[import-untyped]
from django.db.models import Avg, Case, Count, F, Max, Min, When
from django.db.models.functions import ATan2, Cos, Degrees, Radians, Sin
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline_app import downloads
from pipeline_app.api.serializers import (
    CalibrationSerializer,
    LightCurveSerializer,
    ObservationDetailSerializer,
    ObservationSerializer,
    PointSerializer,
    ProductDetailSerializer,
    ProductSerializer,
    SourceSerializer,
)
from pipeline_app.light_curves import FAILED, epochs
from pipeline_app.models import Calibration, Measurement, Observation, ObservationState, Product, accepted_files
from tasks_app.api.errors import AnythingAccepted
from tasks_app.api.lists import KeysetPagination, ListView, StrictFilterBackend, limit_of, next_address
from tasks_app.api.requests import refuse_unknown
from tasks_app.api.serializers import ShownRun
from tasks_app.auth.keys import Need
from tasks_app.models import Run
from tasks_app.operations.selection import StrictFilterSet, between
from tasks_app.workflows.state import state_of

VIEW_OBSERVATION = Need(scope="read", permission="pipeline_app.view_observation")
VIEW_PRODUCT = Need(scope="read", permission="pipeline_app.view_product")
VIEW_CALIBRATION = Need(scope="read", permission="pipeline_app.view_calibration")
VIEW_MEASUREMENT = Need(scope="read", permission="pipeline_app.view_measurement")
SHOWN_MOST = 500
RANGE = OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=…, one range.")
POINTS_MOST = 10_000
COLUMNS = (
    "mid_mjd", "flux_jy", "flux_err_jy", "snr", "freq_hz", "local_rms_jy", "primary_beam", "offset_arcsec",
    "catalog_flux_jy", "observation__name", "observation_id", "task_id", "image_path",
    "verdict",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet takes a text for something to be worked out."""


# What the lists can be narrowed by


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


# Views


def _observations() -> Any:
    return Observation.objects.annotate(n_files=accepted_files())


class ObservationListView(ListView):
    """The observations, the last registered first."""

    needs = {"GET": VIEW_OBSERVATION}
    queryset = _observations()
    filterset_class = ObservationFilter
    serializer_class = ObservationSerializer
    list_name = "observations"


class ObservationView(RetrieveAPIView[Observation]):
    """One observation with its raw files, the products of its last run, and the state of that run."""

    needs = {"GET": VIEW_OBSERVATION}
    queryset = _observations()
    serializer_class = ObservationDetailSerializer

    def get_object(self) -> Observation:
        observation: Any = super().get_object()
        run = Run.objects.filter(run_id=observation.run_id).first() if observation.run_id else None
        last = observation.products.filter(run_id=observation.run_id, run_id__isnull=False)
        observation.all_files = list(observation.files.all())
        observation.last_products = list(last.order_by("id")[:SHOWN_MOST])
        observation.last_calibrations = list(observation.calibrations.order_by("-id")[:SHOWN_MOST])
        observation.shown_run = ShownRun(run=run, state=state_of(run)) if run else None
        return observation  # type: ignore[no-any-return]


class CalibrationListView(ListView):
    """The calibrations, the last solved first."""

    needs = {"GET": VIEW_CALIBRATION}
    queryset = Calibration.objects.all()
    serializer_class = CalibrationSerializer
    filterset_class = CalibrationFilter
    list_name = "calibrations"


class CalibrationView(RetrieveAPIView[Calibration]):
    """One calibration."""

    needs = {"GET": VIEW_CALIBRATION}
    queryset = Calibration.objects.all()
    serializer_class = CalibrationSerializer


class ProductListView(ListView):
    """The products, newest first."""

    needs = {"GET": VIEW_PRODUCT}
    queryset = Product.objects.defer("inputs", "params", "versions")
    filterset_class = ProductFilter
    serializer_class = ProductSerializer
    list_name = "products"


class ProductView(RetrieveAPIView[Product]):
    """One product with its inputs, parameters and software versions."""

    needs = {"GET": VIEW_PRODUCT}
    queryset = Product.objects.all()
    serializer_class = ProductDetailSerializer


def _product(pk: int) -> Product:
    return get_object_or_404(Product, pk=pk)


def _send(request: Request, product: Product, *, directories: bool = False) -> HttpResponseBase:
    refuse_unknown(request.query_params, set())
    try:
        return downloads.send(product, request.headers, directories=directories)
    except OSError as error:
        raise NotFound(f"{product.path} cannot be sent: {error}") from None


class ProductFileView(APIView):
    """The file itself, or the directory as tar."""

    needs = {"GET": VIEW_PRODUCT}
    content_negotiation_class = AnythingAccepted

    @extend_schema(
        parameters=[RANGE],
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (200, "application/x-tar"): OpenApiTypes.BINARY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        return _send(request, _product(pk), directories=True)


class ProductPreviewView(APIView):
    """The product as a picture: itself if it is one, else the first that the same task made."""

    needs = {"GET": VIEW_PRODUCT}
    content_negotiation_class = AnythingAccepted

    @extend_schema(responses={(200, "image/png"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        shown = downloads.picture_of(_product(pk))
        if shown is None:
            raise NotFound(f"the task that made product {pk} made no picture")
        return _send(request, shown)


class SourcePagination(KeysetPagination):
    """Pages by name."""

    cursor_schema = {"type": "string"}

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.view = view
        limit, cursor = limit_of(request.query_params), request.query_params.get("cursor", "")
        known = queryset.filter(name__gt=cursor).order_by("name").values_list("name", flat=True)
        names = list(known.distinct()[: limit + 1])
        if len(names) > limit:
            self.next = next_address(request, names[limit - 1])
        return list(_sources(Measurement.objects.filter(name__in=names[:limit])))


class SourceListView(ListView):
    """All sources that have been measured, by name."""

    needs = {"GET": VIEW_MEASUREMENT}
    queryset = Measurement.objects.all()
    filterset_class = SourceFilter
    serializer_class = SourceSerializer
    pagination_class = SourcePagination
    list_name = "sources"


def _sources(rows: Any) -> Any:
    """Return a summary of each source; the right ascension is a mean over the circle, from 0 to 360."""
    angle = Radians("ra_deg")
    return (
        epochs(rows)
        .values("name")
        .annotate(
            measurements=Count("pk"),
            first_mjd=Min("mid_mjd"),
            last_mjd=Max("mid_mjd"),
            east_deg=Degrees(ATan2(Avg(Sin(angle)), Avg(Cos(angle)))),
            ra_deg=Case(When(east_deg__lt=0, then=F("east_deg") + 360.0), default=F("east_deg")),
            dec_deg=Avg("dec_deg"),
            failed=Count("pk", filter=FAILED),
            mean_flux_jy=Avg("flux_jy", filter=~FAILED),
            min_flux_jy=Min("flux_jy", filter=~FAILED),
            max_flux_jy=Max("flux_jy", filter=~FAILED),
        )
        .order_by("name")
    )


def _measured(name: str) -> Any:
    """Return the measurements of a source. Raises NotFound."""
    rows = Measurement.objects.filter(name=name)
    if not rows.exists():
        raise NotFound(f"no source called {name[:200]!r} has been measured")
    return rows


class SourceView(RetrieveAPIView[Any]):
    """One source and a summary of its measurements."""

    needs = {"GET": VIEW_MEASUREMENT}
    serializer_class = SourceSerializer

    def get_object(self) -> Any:
        return _sources(_measured(self.kwargs["name"])).get()


class _LightCurveView(GenericAPIView[Any]):
    needs = {"GET": VIEW_MEASUREMENT}
    queryset = Measurement.objects.all()
    filterset_class = MeasurementFilter
    filter_backends = [StrictFilterBackend]
    pagination_class = None
    query_parameters = ()

    def points(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the measurements that the query selects, in order of time, and whether there are more of them."""
        rows = self.filter_queryset(epochs(_measured(self.kwargs["name"]))).order_by("mid_mjd", "id").values(*COLUMNS)
        found = list(rows[: POINTS_MOST + 1])
        return found[:POINTS_MOST], len(found) > POINTS_MOST


@extend_schema_view(get=extend_schema(responses=LightCurveSerializer))
class LightCurveView(_LightCurveView):
    """The light curve of a source: of each observation the latest measurement, 10,000 at most."""

    def get(self, request: Request, name: str) -> Response:
        points, truncated = self.points()
        curve = {"name": name, "points": points, "truncated": truncated}
        return Response(LightCurveSerializer(curve).data)


@extend_schema_view(get=extend_schema(responses={(200, "text/csv"): str}))
class LightCurveCsvView(_LightCurveView):
    """The light curve of a source as CSV, with the units in the names of the columns."""

    content_negotiation_class = AnythingAccepted

    def get(self, request: Request, name: str) -> HttpResponseBase:
        points, _ = self.points()
        text = io.StringIO()
        writer = csv.writer(text)
        rows = PointSerializer(points, many=True).data
        writer.writerow(PointSerializer().fields)
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
        disposition = content_disposition_header(as_attachment=True, filename=f"{name}.csv") or "attachment"
        return HttpResponse(
            text.getvalue(), content_type="text/csv; charset=utf-8", headers={"Content-Disposition": disposition}
        )


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
