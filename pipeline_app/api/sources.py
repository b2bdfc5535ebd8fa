"""Sources and their light curves, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from django.db.models import Avg, Case, Count, Exists, F, Max, Min, OuterRef, Q, When
from django.db.models.functions import ATan2, Cos, Degrees, Radians, Sin
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline_app.api.filters import MeasurementFilter
from pipeline_app.api.permissions import VIEW_MEASUREMENT
from pipeline_app.api.serializers import (
    LightCurveSerializer,
    PointSerializer,
    SourceListSerializer,
    SourceSerializer,
)
from pipeline_app.models import Measurement
from tasks_app.api.bounds import bounded
from tasks_app.api.filters import narrowed, parameters
from tasks_app.api.negotiation import AnythingAccepted
from tasks_app.api.pagination import limit_of, next_address, refuse_unknown

POINTS_MOST = 10_000
COLUMNS = (
    "mid_mjd", "flux_jy", "flux_err_jy", "snr", "freq_hz", "local_rms_jy", "primary_beam", "offset_arcsec",
    "catalog_flux_jy", "observation__name", "observation_id", "task_id", "image_path",
    "verdict",
)  # fmt: skip
FAILED = Q(verdict="fail")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet takes a text for something to be worked out."""


class SourceListView(APIView):
    """All sources that have been measured, by name."""

    needs = {"GET": VIEW_MEASUREMENT}

    @extend_schema(
        operation_id="list_sources",
        parameters=[
            OpenApiParameter("limit", int, description="1 to 500, default 100"),
            OpenApiParameter("cursor", str, description="Taken from `next`"),
            OpenApiParameter("name", str, description="The beginning of the name."),
        ],
        responses=SourceListSerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, {"limit", "cursor", "name"})
        limit, cursor, name = limit_of(query), query.get("cursor", ""), query.get("name", "")
        known = Measurement.objects.filter(name__gt=cursor, name__startswith=name)
        with bounded():
            names = list(known.order_by("name").values_list("name", flat=True).distinct()[: limit + 1])
            found = list(_summed(Measurement.objects.filter(name__in=names)))
        following = next_address(request.path, query, found[limit - 1]["name"]) if len(found) > limit else None
        return Response({"sources": SourceSerializer(found[:limit], many=True).data, "next": following})


def _epochs(rows: Any) -> Any:
    """Leave out what was measured again, at the same frequency in the same observation: the latest counts."""
    same = {name: OuterRef(name) for name in ("name", "observation", "freq_hz")}
    return rows.exclude(Exists(Measurement.objects.filter(**same, id__gt=OuterRef("id"))))


def _summed(rows: Any) -> Any:
    """Return what is told of each source; the right ascension is a mean over the circle, from 0 to 360."""
    angle = Radians("ra_deg")
    return (
        _epochs(rows)
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


class SourceView(APIView):
    """One source and what has been measured of it."""

    needs = {"GET": VIEW_MEASUREMENT}

    @extend_schema(operation_id="get_source", responses=SourceSerializer)
    def get(self, request: Request, name: str) -> Response:
        return Response(SourceSerializer(_summed(_measured(name)).get()).data)


def _points(request: Request, name: str) -> tuple[list[dict[str, Any]], bool]:
    rows = narrowed(MeasurementFilter, _epochs(_measured(name)), request, beside=())
    found = list(rows.order_by("mid_mjd", "id").values(*COLUMNS)[: POINTS_MOST + 1])
    return found[:POINTS_MOST], len(found) > POINTS_MOST


class LightCurveView(APIView):
    """The light curve of a source: of each observation the latest measurement, 10,000 at most."""

    needs = {"GET": VIEW_MEASUREMENT}

    @extend_schema(
        operation_id="get_light_curve",
        parameters=parameters(MeasurementFilter, paged=False),
        responses=LightCurveSerializer,
    )
    def get(self, request: Request, name: str) -> Response:
        points, truncated = _points(request, name)
        return Response(LightCurveSerializer({"name": name, "points": points, "truncated": truncated}).data)


class LightCurveCsvView(APIView):
    """The light curve of a source as CSV, with the units in the names of the columns."""

    needs = {"GET": VIEW_MEASUREMENT}
    content_negotiation_class = AnythingAccepted

    @extend_schema(
        operation_id="get_light_curve_csv",
        parameters=parameters(MeasurementFilter, paged=False),
        responses={(200, "text/csv"): str},
    )
    def get(self, request: Request, name: str) -> HttpResponseBase:
        points, _ = _points(request, name)
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
