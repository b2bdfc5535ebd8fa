"""Paths of the API, as the operations guide writes them; a trailing slash is accepted as well."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path, register_converter
from django.urls.converters import PathConverter
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.views import APIView

from tasks_app.api import schema as schema  # registers the key's description
from tasks_app.api.views.batch import BatchView
from tasks_app.api.views.catalogue import operation_views
from tasks_app.api.views.documents import RedocView, SwaggerView
from tasks_app.api.views.feed import FeedSchemaView, FeedTicketView, FeedView
from tasks_app.api.views.limits import LimitListView, LimitView
from tasks_app.api.views.logs import AttemptLogView, TaskLogView
from tasks_app.api.views.monitoring import HealthView, MetricsView, UnknownRouteView
from tasks_app.api.views.names import TaskNameListView, TaskNameView, WorkflowListView
from tasks_app.api.views.operations import BulkView
from tasks_app.api.views.queues import AllQueueStatsView, QueueListView, QueueStatsView
from tasks_app.api.views.runs import RunGraphView, RunListView, RunView
from tasks_app.api.views.schedules import ScheduleListView, ScheduleView
from tasks_app.api.views.tasks import TaskAttemptsView, TaskEventsView, TaskExplainView, TaskListView, TaskView
from tasks_app.api.views.workers import WorkerListView, WorkerView

app_name = "absurd_api"

VIEWS: dict[str, type[APIView]] = {
    "health": HealthView,
    "queues": QueueListView,
    "queues/stats": AllQueueStatsView,
    "queues/<str:queue_name>/stats": QueueStatsView,
    "tasks": TaskListView,
    "tasks/batch": BatchView,
    "tasks/bulk": BulkView,
    "tasks/<str:task_id>": TaskView,
    "tasks/<str:task_id>/events": TaskEventsView,
    "tasks/<str:task_id>/attempts": TaskAttemptsView,
    "tasks/<str:task_id>/attempts/<int:number>/log": AttemptLogView,
    "tasks/<str:task_id>/log": TaskLogView,
    "tasks/<str:task_id>/explain": TaskExplainView,
    "runs": RunListView,
    "runs/<str:run_id>": RunView,
    "runs/<str:run_id>/graph": RunGraphView,
    "workflows": WorkflowListView,
    "task-names": TaskNameListView,
    "task-names/<str:task_name>": TaskNameView,
    "schedules": ScheduleListView,
    "schedules/<str:name>": ScheduleView,
    "workers": WorkerListView,
    "workers/<str:worker_id>": WorkerView,
    "limits": LimitListView,
    "limits/<str:scope>/<text:name>": LimitView,
    "metrics": MetricsView,
    "feed": FeedView,
    "feed/ticket": FeedTicketView,
    "feed/schema": FeedSchemaView,
    **operation_views(),
}


class TextConverter(PathConverter):
    """Any text, with slashes and line breaks: names from catalogues and files may contain anything."""

    regex = r"[\s\S]*"


register_converter(TextConverter, "text")


def with_and_without_slash(route: str, view: type[APIView]) -> list[URLPattern]:
    """The route as written, in the schema; and with a slash, out of it. No redirect: it would lose a POST's body.

    A route that ends in a free path has no second form, because the slash may be part of it.
    """
    name = view.__name__.removesuffix("View")
    slashed = [] if "<text:" in route else [path(f"{route}/", view.as_view(schema=None))]
    return [path(route, view.as_view(), name=name), *slashed]


urlpatterns = [
    *(pattern for route, view in VIEWS.items() for pattern in with_and_without_slash(route, view)),
    *(path(f"docs{slash}", SwaggerView.as_view(), name=f"docs{slash}") for slash in ("/", "")),
    *(path(f"redoc{slash}", RedocView.as_view(), name=f"redoc{slash}") for slash in ("/", "")),
    path("schema", SpectacularJSONAPIView.as_view(), name="schema"),
    re_path(r"^[\s\S]*$", UnknownRouteView.as_view()),
]
