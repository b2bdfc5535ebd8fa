"""Who does the work, and orders to them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.etags import IF_NONE_MATCH, tagged, unchanged, worker_tag
from tasks_app.api.filters import WorkerFilter
from tasks_app.api.lists import ListView, WholeList
from tasks_app.api.system_serializers import WorkerSerializer
from tasks_app.api.views.operations import Answer
from tasks_app.errors import WorkerNotFound
from tasks_app.models import Worker
from tasks_app.monitoring.workers import SHOWN_MOST, WorkerReport, recent, report_on, sorted_reports
from tasks_app.postgresql import clock


def find_worker(text: str) -> Worker:
    """Return the worker of a boot id, or the last one that was started under a label. Raises WorkerNotFound."""
    found: list[Worker] = []
    with suppress(ValueError):
        found = list(Worker.objects.filter(pk=UUID(text)))
    found = found or list(Worker.objects.filter(label=text).order_by("-started_at")[:1])
    if not found:
        raise WorkerNotFound(text[:100])
    return found[0]


def _report(worker: Worker) -> WorkerReport:
    return report_on([worker], clock.now())[0]


@extend_schema_view(get=extend_schema(operation_id="list_workers"))
class WorkerListView(ListView):
    """Workers that reported within a day, those that are up first; 500 at most."""

    queryset = Worker.objects.all()
    filterset_class = WorkerFilter
    serializer_class = WorkerSerializer
    pagination_class = WholeList
    list_name = "workers"

    def get_queryset(self) -> Any:
        return recent(clock.now())

    def paginate_queryset(self, queryset: Any) -> Any:
        workers: Any = super().paginate_queryset(queryset[:SHOWN_MOST])
        return sorted_reports(report_on(workers, clock.now()))


@extend_schema_view(get=extend_schema(operation_id="get_worker", parameters=[IF_NONE_MATCH]))
class WorkerView(RetrieveAPIView[Any]):
    """One worker, by its boot id, or by its label the last that was started under it."""

    serializer_class = WorkerSerializer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        report = _report(find_worker(kwargs["worker_id"]))
        tag = worker_tag(report)
        return unchanged(request, tag) or tagged(Response(self.get_serializer(report).data), tag)


SHOWN = Answer(
    key=lambda worker_id: find_worker(worker_id).pk,
    response=lambda _, worker: Response(WorkerSerializer(_report(worker)).data),
    shapes={200: WorkerSerializer},
)
