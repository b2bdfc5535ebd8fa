"""Paths of the API, as the operations guide writes them; a trailing slash is accepted as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.urls import URLPattern, path, re_path, register_converter
from django.urls.converters import PathConverter
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.views import APIView

from tasks_app.api import schema as schema  # registers the key's description
from tasks_app.api.serializers import SpawnedSerializer
from tasks_app.api.views import feed, runs, system, tasks
from tasks_app.api.views.documents import RedocView, SwaggerView, UnknownRouteView
from tasks_app.api.views.logs import AttemptLogView, TaskLogView
from tasks_app.api.views.monitoring import HealthView, MetricsView
from tasks_app.api.views.operations import Answer, BulkView, operation_view
from tasks_app.operations.catalogue import OPERATIONS
from tasks_app.operations.routes import route_of

app_name = "absurd_api"

_ANSWERS: Mapping[tuple[str, str] | str, Answer] = {
    "task": tasks.SHOWN,
    "run": runs.COUNTED,
    "worker": system.WORKER,
    "queue": system.QUEUE,
    "schedule": system.SCHEDULE,
    ("task", "respawn"): tasks.RESPAWNED,
    ("task", "reprioritize"): tasks.REPRIORITIZED,
    ("run", "cancel"): runs.CANCELLED,
    ("schedule", "run"): Answer(response=lambda _, task: tasks.spawned(task), shapes={201: SpawnedSerializer}),
    ("system", "freeze"): system.FREEZE,
    ("system", "thaw"): system.FREEZE,
    ("system", "enable"): system.STATE,
    ("system", "disable"): system.STATE,
    ("system", "emergency-stop"): system.EMERGENCY,
    ("system", "emergency-recover"): system.EMERGENCY,
    ("system", "acknowledge"): system.ACKNOWLEDGED,
}
"""How operations answer, by the kind of their target, and by their name where one answers otherwise."""


def operation_views(answers: Mapping[tuple[str, str] | str, Answer]) -> Iterator[tuple[str, type[APIView]]]:
    """Yield the routes and views of the operations that are a POST with a path of their own and have an answer."""
    for (kind, name), operation in OPERATIONS.items():
        route, answer = route_of(kind, name), answers.get((kind, name)) or answers.get(kind)
        if answer and route.method == "POST":
            base = system.FreezeStateView if name == "freeze" else APIView
            yield route.pattern, operation_view(operation, answer, base)


VIEWS: dict[str, type[APIView]] = {
    "health": HealthView,
    "queues": system.QueueListView,
    "queues/stats": system.AllQueueStatsView,
    "queues/<str:queue_name>/stats": system.QueueStatsView,
    "tasks": tasks.TaskListView,
    "tasks/batch": tasks.BatchView,
    "tasks/bulk": BulkView,
    "tasks/<str:task_id>": tasks.TaskView,
    "tasks/<str:task_id>/events": tasks.TaskEventsView,
    "tasks/<str:task_id>/attempts": tasks.TaskAttemptsView,
    "tasks/<str:task_id>/attempts/<int:number>/log": AttemptLogView,
    "tasks/<str:task_id>/log": TaskLogView,
    "tasks/<str:task_id>/explain": tasks.TaskExplainView,
    "runs": runs.RunListView,
    "runs/<str:run_id>": runs.RunView,
    "runs/<str:run_id>/graph": runs.RunGraphView,
    "workflows": system.WorkflowListView,
    "task-names": system.TaskNameListView,
    "task-names/<str:task_name>": system.TaskNameView,
    "schedules": system.ScheduleListView,
    "schedules/<str:name>": system.ScheduleView,
    "workers": system.WorkerListView,
    "workers/<str:worker_id>": system.WorkerView,
    "limits": system.LimitListView,
    "limits/<str:scope>/<text:name>": system.LimitView,
    "metrics": MetricsView,
    "feed": feed.FeedView,
    "feed/ticket": feed.FeedTicketView,
    "feed/schema": feed.FeedSchemaView,
    **dict(operation_views(_ANSWERS)),
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
