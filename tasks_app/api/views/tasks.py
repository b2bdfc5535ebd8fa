"""Tasks: lists, details, events, attempts and explanations; spawning and cancelling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db.models.functions import Left
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from pydantic import Field
from rest_framework import serializers
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import examples
from tasks_app.api.access import check
from tasks_app.api.errors import BadQuery
from tasks_app.api.lists import ArchivedTaskFilter, EventFilter, KeysetPagination, ListView, WholeList, capped_count
from tasks_app.api.requests import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    actor_of,
    asks,
    find_task,
    flag,
    idempotency_key_of,
    options_of,
    refuse_unknown,
    tag_of,
    tagged,
    task_id_of,
    task_tag,
    unchanged,
)
from tasks_app.api.serializers import (
    ERROR_SUMMARY_CHARS,
    HEAVY_FIELDS,
    AttemptSerializer,
    EventSerializer,
    ExplanationSerializer,
    SpawnedSerializer,
    TaskDetailSerializer,
    TaskSerializer,
    TaskSummarySerializer,
)
from tasks_app.api.views.operations import Answer, handler_of, shown_by
from tasks_app.auth.keys import READ, SPAWN
from tasks_app.engine import archive
from tasks_app.engine.lookup import find
from tasks_app.engine.options import BATCH_MOST, TaskOptions
from tasks_app.engine.spawn import spawn, spawn_batch
from tasks_app.models import ArchivedTask, Attempt, Queue, Task, TaskDependency, TaskEvent, TaskStatus
from tasks_app.monitoring.explain.explanation import explain_id
from tasks_app.operations.selection import TaskFilter
from tasks_app.operations.tasks import cancel
from tasks_app.validation import Checked

ARCHIVED = OpenApiParameter(
    "archived", bool, description="List archived tasks, by status, queue_name, task_name, run_id and times."
)
FIELDS = OpenApiParameter(
    "fields", str, description="Names of fields, separated by commas: the only way to get `result` in a list."
)


def with_parents(tasks: Sequence[Task]) -> Sequence[Task]:
    """Return stored tasks with the ids of those they depend on."""
    parents: defaultdict[UUID, list[UUID]] = defaultdict(list)
    edges = TaskDependency.objects.filter(child_task_id__in=[task.task_id for task in tasks]).order_by("id")
    for child, parent in edges.values_list("child_task_id", "parent_task_id"):
        parents[child].append(parent)
    for task in tasks:
        task.depends_on = parents[task.task_id]
    return tasks


def detail_of(task: Task) -> dict[str, Any]:
    """Return the full representation of a task."""
    return dict(TaskDetailSerializer(with_parents([task])[0]).data)


def as_spawned(tasks: Sequence[Task]) -> Sequence[Task]:
    """Return the tasks of a spawn with what is shown of them; those that existed before are looked up."""
    if old := [task for task in tasks if not task.is_new]:
        paused = set(Queue.objects.exclude(paused_at=None).values_list("name", flat=True))
        for task in with_parents(old):
            task.queue_paused = task.queue_id in paused
    return tasks


def spawned(task: Task) -> Response:
    """Return the answer to a spawn: the task, where it is, and whether its queue is paused."""
    address = reverse("absurd_api:Task", kwargs={"task_id": str(task.task_id)})
    (shown,) = as_spawned([task])
    status = 201 if task.is_new else 200
    return Response(SpawnedSerializer(shown).data, status=status, headers={"Location": address})


def _cancelled(key: UUID, task: Task) -> Response:
    return Response(detail_of(find(key)), status=200 if task.status == TaskStatus.CANCELLED else 202)


def _check_respawn(request: Request, key: UUID) -> None:
    find(key)
    check(request, READ)  # the copy that is shown holds what the old task was given


SHOWN = shown_by(TaskDetailSerializer, lambda key, _: with_parents([find(key)])[0], key=task_id_of)
REPRIORITIZED = replace(SHOWN, schema={"examples": examples.OF_PRIORITY})
CANCELLED = Answer(
    key=task_id_of,
    response=_cancelled,
    shapes={200: TaskDetailSerializer, 202: TaskDetailSerializer},
    schema={
        "examples": examples.OF_CANCEL,
        "description": "200: cancelled. 202: its worker has been asked to stop it. 409: it has already finished.",
    },
)
RESPAWNED = Answer(
    key=task_id_of,
    response=lambda _, fresh: spawned(fresh),
    shapes={201: SpawnedSerializer},
    check=_check_respawn,
)


class TaskPagination(KeysetPagination):
    """Pages with the number of all tasks that the filters select."""

    total = 0
    total_is_exact = True

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        page = super().paginate_queryset(view.without_heavy(queryset), request, view)
        is_all = self.next is None and not request.query_params.get("cursor")
        self.total, self.total_is_exact = (len(page), True) if is_all else capped_count(queryset)
        return page

    def get_paginated_response(self, data: Any) -> Response:
        totals = {"total": self.total, "total_is_exact": self.total_is_exact}
        return Response({self.view.list_name: data, **totals, "next": self.next})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        found = super().get_paginated_response_schema(schema)
        found["required"] += ["total", "total_is_exact"]
        found["properties"] |= {
            "total": {
                "type": "integer",
                "description": "Tasks selected, counted up to 10,000.",
                "example": 1,
            },
            "total_is_exact": {"type": "boolean", "example": True},
        }
        return found


@extend_schema_view(
    get=extend_schema(operation_id="list_tasks", parameters=[FIELDS, ARCHIVED], examples=examples.OF_LIST)
)
class TaskListView(ListView):
    """The tasks, newest first."""

    needs = {"POST": SPAWN}
    queryset: Any = Task.objects.all()
    filterset_class: Any = TaskFilter
    serializer_class = TaskSummarySerializer
    pagination_class = TaskPagination
    list_name = "tasks"
    query_parameters = (FIELDS.name, ARCHIVED.name)
    only: list[str] | None = None

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.only = _fields_of(request.query_params.get(FIELDS.name))
        if flag(request.query_params, ARCHIVED.name):
            self.queryset, self.filterset_class = ArchivedTask.objects.all(), ArchivedTaskFilter
            _refuse_heavy(self.only or ())
        return super().list(request, *args, **kwargs)

    def without_heavy(self, rows: Any) -> Any:
        """Return the rows without the columns that may be large and are not asked for."""
        if rows.model is ArchivedTask:
            return archive.light(rows)
        asked = set(TaskSummarySerializer.Meta.fields if self.only is None else self.only)
        rows = rows.with_names().defer(*(name for name in (*HEAVY_FIELDS, "params") if name not in asked))
        if "error_summary" in asked and "error" not in asked:
            rows = rows.annotate(error_head=Left("error", ERROR_SUMMARY_CHARS))
        return rows

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        return archive.rebuild_light(page) if queryset.model is ArchivedTask else page  # type: ignore[arg-type]

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        if self.only is not None:
            return TaskSerializer(*args, only=self.only, **kwargs)
        return super().get_serializer(*args, **kwargs)

    @extend_schema(
        operation_id="spawn_task",
        description="One task. 200: the Idempotency-Key was used before, and this is the task it spawned then.",
        parameters=[IDEMPOTENCY_KEY],
        request=TaskOptions,
        responses={201: SpawnedSerializer, 200: SpawnedSerializer},
        examples=examples.OF_SPAWN,
    )
    def post(self, request: Request) -> Response:
        return spawned(spawn(options_of(request), actor=actor_of(request)))


class Batch(Checked):
    """Tasks that are to be spawned, all or none."""

    tasks: tuple[TaskOptions, ...] = Field(min_length=1, max_length=BATCH_MOST)


class BatchSpawnedSerializer(serializers.Serializer[Any]):
    """The tasks in the order in which they were asked for."""

    tasks = SpawnedSerializer(many=True)


class BatchView(APIView):
    """Spawns several tasks, all or none."""

    needs = {"POST": SPAWN}

    @extend_schema(
        operation_id="spawn_tasks",
        parameters=[IDEMPOTENCY_KEY],
        request=Batch,
        responses={201: BatchSpawnedSerializer, 200: BatchSpawnedSerializer},
        description=(
            f"Up to {BATCH_MOST} tasks. If one is invalid none is spawned, and `errors` has the path of each fault. "
            "200: the Idempotency-Key was used before, and these are the tasks spawned then."
        ),
    )
    def post(self, request: Request) -> Response:
        wanted = Batch.model_validate(request.data or {}).tasks
        tasks = spawn_batch(wanted, actor=actor_of(request), key=idempotency_key_of(request))
        is_new = any(task.is_new for task in tasks)
        shown = BatchSpawnedSerializer({"tasks": as_spawned(tasks)}).data
        return Response(shown, status=201 if is_new else 200)


def _fields_of(text: str | None) -> list[str] | None:
    if not text:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - set(TaskSerializer.Meta.fields))
    if unknown:
        known = ", ".join(TaskSerializer.Meta.fields)
        raise BadQuery(
            [{"path": "fields", "message": f"unknown field {name}; expected one of {known}"} for name in unknown]
        )
    return names


def _refuse_heavy(fields: Collection[str]) -> None:
    message = "is not in lists of archived tasks; get each task instead"
    if heavy := sorted(set(HEAVY_FIELDS) & set(fields)):
        raise BadQuery([{"path": "fields", "message": f"{name} {message}"} for name in heavy])


class TaskView(APIView):
    """One task in full; DELETE cancels it."""

    needs = {"DELETE": cancel.need}
    delete = handler_of(cancel, CANCELLED)

    @extend_schema(
        operation_id="get_task",
        parameters=[IF_NONE_MATCH],
        responses=TaskDetailSerializer,
        examples=examples.OF_DETAIL,
    )
    def get(self, request: Request, task_id: str) -> Response:
        known = unchanged(request, task_tag(task_id_of(task_id))) if asks(request) else None
        if known is not None:
            return known
        task = find_task(task_id)
        return tagged(Response(detail_of(task)), tag_of(task))


@extend_schema_view(get=extend_schema(operation_id="task_events"))
class TaskEventsView(ListView):
    """Events of one task, oldest first."""

    queryset = TaskEvent.objects.all()
    filterset_class = EventFilter
    serializer_class = EventSerializer
    list_name = "events"
    oldest_first = True

    def filter_queryset(self, queryset: Any) -> Any:
        task = find_task(self.kwargs["task_id"])
        rows = super().filter_queryset(queryset.filter(task_id=task.task_id))
        if not archive.is_archived(task):
            return rows
        query = self.request.query_params
        wanted = [(name, query[name]) for name in EventFilter.base_filters if query.get(name)]
        events = archive.events_of(task.task_id)
        return [event for event in events if all(getattr(event, name) == value for name, value in wanted)]


@extend_schema_view(get=extend_schema(operation_id="task_attempts"))
class TaskAttemptsView(ListView):
    """Attempts of one task, first to last."""

    serializer_class = AttemptSerializer
    pagination_class = WholeList
    list_name = "attempts"

    def get_queryset(self) -> Any:
        task = find_task(self.kwargs["task_id"])
        if archive.is_archived(task):
            return archive.attempts_of(task.task_id)
        return Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("number")


@extend_schema_view(get=extend_schema(operation_id="explain_task"))
class TaskExplainView(RetrieveAPIView[Any]):
    """Why a task is not running, how it is running, or how it ended."""

    serializer_class = ExplanationSerializer

    def get_object(self) -> Any:
        refuse_unknown(self.request.query_params)
        return explain_id(task_id_of(self.kwargs["task_id"]))
