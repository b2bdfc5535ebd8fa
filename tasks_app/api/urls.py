"""Paths of the API, as the operations guide writes them; a trailing slash is accepted as well."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.views import APIView

from tasks_app.api import schema as schema  # registers the key's description
from tasks_app.api.views.explanations import TaskExplainView
from tasks_app.api.views.feed import FeedSchemaView, FeedTicketView, FeedView
from tasks_app.api.views.health import HealthView, UnknownRouteView
from tasks_app.api.views.histories import TaskAttemptsView, TaskEventsView
from tasks_app.api.views.metrics import MetricsView
from tasks_app.api.views.queues import (
    AllQueueStatsView,
    QueueListView,
    QueuePauseView,
    QueueResumeView,
    QueueStatsView,
)
from tasks_app.api.views.runs import RunCancelView, RunListView, RunRetryView, RunView
from tasks_app.api.views.tasks import TaskListView, TaskPriorityView, TaskRetryView, TaskView
from tasks_app.api.views.workers import WorkerListView

app_name = "absurd_api"

VIEWS: dict[str, type[APIView]] = {
    "health": HealthView,
    "queues": QueueListView,
    "queues/stats": AllQueueStatsView,
    "queues/<str:queue_name>/stats": QueueStatsView,
    "queues/<str:queue_name>/pause": QueuePauseView,
    "queues/<str:queue_name>/resume": QueueResumeView,
    "tasks": TaskListView,
    "tasks/<str:task_id>": TaskView,
    "tasks/<str:task_id>/priority": TaskPriorityView,
    "tasks/<str:task_id>/retry": TaskRetryView,
    "tasks/<str:task_id>/events": TaskEventsView,
    "tasks/<str:task_id>/attempts": TaskAttemptsView,
    "tasks/<str:task_id>/explain": TaskExplainView,
    "runs": RunListView,
    "runs/<str:run_id>": RunView,
    "runs/<str:run_id>/cancel": RunCancelView,
    "runs/<str:run_id>/retry": RunRetryView,
    "workers": WorkerListView,
    "metrics": MetricsView,
    "feed": FeedView,
    "feed/ticket": FeedTicketView,
    "feed/schema": FeedSchemaView,
}


def _both(route: str, view: type[APIView]) -> list[URLPattern]:
    """The route as written, in the schema; and with a slash, out of it. No redirect: it would lose a POST's body."""
    name = view.__name__.removesuffix("View")
    return [path(route, view.as_view(), name=name), path(f"{route}/", view.as_view(schema=None))]


urlpatterns = [
    *(pattern for route, view in VIEWS.items() for pattern in _both(route, view)),
    path("schema", SpectacularJSONAPIView.as_view(), name="schema"),
    re_path(r"^.*$", UnknownRouteView.as_view()),
]
