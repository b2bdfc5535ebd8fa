"""Tasks: list, look up, spawn, cancel."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.db.models.functions import Left
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api import examples
from tasks_app.api.bounds import bounded
from tasks_app.api.caching import IF_NONE_MATCH, asks, tag_of, tagged, task_tag, unchanged
from tasks_app.api.errors import BadQuery
from tasks_app.api.filters import PAGE_PARAMETERS, ArchivedTaskFilter, TaskFilter, narrowed, parameters
from tasks_app.api.pagination import capped_count, flag, paged
from tasks_app.api.serializers import (
    ERROR_SUMMARY_CHARS,
    HEAVY_FIELDS,
    SpawnedSerializer,
    SpawnSerializer,
    TaskDetailSerializer,
    TaskListSerializer,
    TaskSerializer,
    TaskSummarySerializer,
)
from tasks_app.api.views.request import (
    IDEMPOTENCY_KEY,
    actor_of,
    body_of,
    find_task,
    idempotency_key_of,
    reason_of_deletion,
    task_id_of,
)
from tasks_app.auth.requirements import CANCEL, SPAWN
from tasks_app.engine import archive
from tasks_app.engine.lookup import find
from tasks_app.engine.options import SpawnRequest
from tasks_app.engine.spawn import spawn
from tasks_app.models import ArchivedTask, Queue, Task, TaskDependency, TaskStatus
from tasks_app.operations.cancel import cancel

ARCHIVED = OpenApiParameter(
    "archived", bool, description="List archived tasks, by status, queue_name, task_name, run_id and times."
)
FIELDS = OpenApiParameter("fields", str, description="Comma-separated; the only way to have `result` in a list")

BESIDE = (*PAGE_PARAMETERS, FIELDS.name, ARCHIVED.name)


def detail_of(task: Task, shape: type[TaskDetailSerializer] = TaskDetailSerializer) -> dict[str, Any]:
    """Return the full representation of a task."""
    parents = TaskDependency.objects.filter(child_task_id=task.task_id).order_by("id")
    task.depends_on = list(parents.values_list("parent_task_id", flat=True))  # type: ignore[attr-defined]
    return dict(shape(task).data)


def spawned(task_id: UUID, *, status: int) -> Response:
    """Return the answer to a spawn: the task, where it is, and whether its queue is paused."""
    task = find(task_id)
    task.queue_paused = Queue.objects.get(name=task.queue_id).is_paused  # type: ignore[attr-defined]
    address = reverse("absurd_api:Task", kwargs={"task_id": str(task_id)})
    return Response(detail_of(task, SpawnedSerializer), status=status, headers={"Location": address})


class TaskListView(APIView):
    """The tasks, newest first, and the way in for new ones."""

    needs = {"POST": SPAWN}

    @extend_schema(
        operation_id="list_tasks",
        parameters=parameters(TaskFilter, FIELDS, ARCHIVED),
        responses=TaskListSerializer,
        examples=examples.OF_LIST,
    )
    def get(self, request: Request) -> Response:
        only = _fields_of(request.query_params.get("fields"))
        with bounded():
            if flag(request.query_params, ARCHIVED.name):
                return _page(request, *_archived(request), only)
            selected = narrowed(TaskFilter, Task.objects.all(), request, beside=BESIDE)
            found, following = paged(_without_heavy(selected, only), request)
            return _page(request, selected, found, following, only)

    @extend_schema(
        operation_id="spawn_task",
        parameters=[IDEMPOTENCY_KEY],
        request=SpawnSerializer,
        responses={201: SpawnedSerializer, 200: SpawnedSerializer},
        examples=examples.OF_SPAWN,
    )
    def post(self, request: Request) -> Response:
        key, proposed = idempotency_key_of(request), uuid4()
        wanted = SpawnRequest(**body_of(request, SpawnSerializer), idempotency_key=key, task_id=proposed)
        task_id = spawn(wanted, actor=actor_of(request)).task_id
        return spawned(task_id, status=201 if task_id == proposed else 200)


def _page(
    request: Request, selected: Any, found: list[Task], following: str | None, only: list[str] | None
) -> Response:
    is_all = following is None and not request.query_params.get("cursor")
    total, exact = (len(found), True) if is_all else capped_count(selected)
    shape = TaskSummarySerializer if only is None else TaskSerializer
    tasks = shape(found, many=True, only=only).data
    return Response({"tasks": tasks, "total": total, "total_is_exact": exact, "next": following})


def _without_heavy(rows: Any, only: list[str] | None) -> Any:
    """Have the rows come without the columns that may be large and are not asked for."""
    asked = set(TaskSummarySerializer.Meta.fields if only is None else only)
    rows = rows.with_names().defer(*(name for name in (*HEAVY_FIELDS, "params") if name not in asked))
    if "error_summary" in asked and "error" not in asked:
        rows = rows.annotate(error_head=Left("error", ERROR_SUMMARY_CHARS))
    return rows


def _archived(request: Request) -> tuple[Any, list[Task], str | None]:
    selected = narrowed(ArchivedTaskFilter, ArchivedTask.objects.all(), request, beside=BESIDE)
    heavy = sorted(set(HEAVY_FIELDS) & set(_fields_of(request.query_params.get("fields")) or ()))
    if heavy:
        message = "not in a list of archived tasks; look at each"
        raise BadQuery([{"path": "fields", "message": f"{name} is {message}"} for name in heavy])
    found, following = paged(archive.light(selected), request)
    return selected, archive.rebuild_light(found), following


def _fields_of(text: str | None) -> list[str] | None:
    if not text:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - set(TaskSerializer.Meta.fields))
    if unknown:
        known = ", ".join(TaskSerializer.Meta.fields)
        raise BadQuery([{"path": "fields", "message": f"unknown field {name}; known are {known}"} for name in unknown])
    return names


class TaskView(APIView):
    """One task in full; DELETE cancels it."""

    needs = {"DELETE": CANCEL}

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

    @extend_schema(
        operation_id="cancel_task",
        parameters=[OpenApiParameter("reason", str)],
        responses={200: TaskDetailSerializer, 202: TaskDetailSerializer},
        examples=examples.OF_CANCEL,
        description="200: cancelled. 202: its worker has been asked to stop it. 409: it has already finished.",
    )
    def delete(self, request: Request, task_id: str) -> Response:
        task = cancel(task_id_of(task_id), actor=actor_of(request), reason=reason_of_deletion(request))
        body = detail_of(find_task(task_id))
        return Response(body, status=200 if task.status == TaskStatus.CANCELLED else 202)
