"""Observations and calibrations: lists and details."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline_app.api.filters import CalibrationFilter, ObservationFilter
from pipeline_app.api.finding import found
from pipeline_app.api.permissions import VIEW_CALIBRATION, VIEW_OBSERVATION
from pipeline_app.api.serializers import (
    CalibrationListSerializer,
    CalibrationSerializer,
    ObservationDetailSerializer,
    ObservationListSerializer,
    ObservationSerializer,
)
from pipeline_app.models import Calibration, Observation, SubbandState
from tasks_app.api.bounds import bounded
from tasks_app.api.filters import narrowed, parameters
from tasks_app.api.pagination import paged
from tasks_app.api.shown import Shown
from tasks_app.models import Run
from tasks_app.workflows.state import state_of

PRODUCTS_SHOWN = 500


def _observations() -> QuerySet[Observation]:
    return Observation.objects.annotate(n_files=Count("files", filter=Q(files__state=SubbandState.ACCEPTED)))


class ObservationListView(APIView):
    """The observations, the last registered first."""

    needs = {"GET": VIEW_OBSERVATION}

    @extend_schema(
        operation_id="list_observations",
        parameters=parameters(ObservationFilter),
        responses=ObservationListSerializer,
    )
    def get(self, request: Request) -> Response:
        with bounded():
            rows, following = paged(narrowed(ObservationFilter, _observations(), request), request)
        return Response({"observations": ObservationSerializer(rows, many=True).data, "next": following})


class ObservationView(APIView):
    """One observation with its raw files, what its last run made, and how that run stands."""

    needs = {"GET": VIEW_OBSERVATION}

    @extend_schema(operation_id="get_observation", responses=ObservationDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        observation = found(_observations(), pk)
        run = Run.objects.filter(run_id=observation.run_id).first() if observation.run_id else None
        last = observation.products.filter(run_id=observation.run_id, run_id__isnull=False)
        told = {
            "all_files": list(observation.files.all()),
            "last_products": list(last.order_by("id")[:PRODUCTS_SHOWN]),
            "last_calibrations": list(observation.calibrations.order_by("-id")[:PRODUCTS_SHOWN]),
            "shown_run": Shown(run=run, state=state_of(run)) if run else None,
        }
        for name, value in told.items():
            setattr(observation, name, value)
        return Response(ObservationDetailSerializer(observation).data)


class CalibrationListView(APIView):
    """The calibrations, the last solved first."""

    needs = {"GET": VIEW_CALIBRATION}

    @extend_schema(
        operation_id="list_calibrations",
        parameters=parameters(CalibrationFilter),
        responses=CalibrationListSerializer,
    )
    def get(self, request: Request) -> Response:
        with bounded():
            rows, following = paged(narrowed(CalibrationFilter, Calibration.objects.all(), request), request)
        return Response({"calibrations": CalibrationSerializer(rows, many=True).data, "next": following})


class CalibrationView(APIView):
    """One calibration."""

    needs = {"GET": VIEW_CALIBRATION}

    @extend_schema(operation_id="get_calibration", responses=CalibrationSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(CalibrationSerializer(found(Calibration.objects.all(), pk)).data)
