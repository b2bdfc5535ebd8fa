"""Tasks: list, look up, spawn, cancel, retry, reprioritise."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Left
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.actions.cancel import cancel
from tasks_app.actions.reprioritize import reprioritize
from tasks_app.actions.retry import retry
from tasks_app.actions.spawn import SpawnRequest, spawn
from tasks_app.api.errors import BadQuery
from tasks_app.api.filters import TaskFilter, apply_filters
from tasks_app.api.pagination import Page, capped_count, next_address, refuse_unknown
from tasks_app.api.permissions import CANCEL, REPRIORITIZE, RETRY, SPAWN
from tasks_app.api.serializers import (
    ERROR_SUMMARY_CHARS,
    PrioritySerializer,
    ReasonSerializer,
    SpawnedSerializer,
    SpawnSerializer,
    TaskDetailSerializer,
    TaskListSerializer,
    TaskSerializer,
    TaskSummarySerializer,
)
from tasks_app.api.views.request import actor_of, body_of, find_task, task_id_of
from tasks_app.models import IdempotencyKey, Queue, Task, TaskDependency, TaskStatus

PAGE_PARAMETERS = ("limit", "cursor", "fields")


def detail_of(task: Task, shape: type[TaskDetailSerializer] = TaskDetailSerializer) -> dict[str, Any]:
    """Return the full representation of a task."""
    parents = TaskDependency.objects.filter(child_task_id=task.task_id).order_by("id")
    task.depends_on = list(parents.values_list("parent_task_id", flat=True))  # type: ignore[attr-defined]
    return dict(shape(task).data)


class TaskListView(APIView):
    """The tasks, newest first, and the way in for new ones."""

    needs = {"POST": SPAWN}
    filterset_class = TaskFilter

    @extend_schema(
        operation_id="list_tasks",
        parameters=[
            OpenApiParameter("limit", int, description="1 to 500, default 100"),
            OpenApiParameter("cursor", int, description="Taken from `next`"),
            OpenApiParameter("fields", str, description="Comma-separated; the only way to have `result` in a list"),
            *(
                OpenApiParameter(name, str, description=str(each.extra.get("help_text", "")))
                for name, each in TaskFilter.base_filters.items()
            ),
        ],
        responses=TaskListSerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, {*PAGE_PARAMETERS, *TaskFilter.base_filters})
        page, only = Page.of(query), _fields_of(query.get("fields"))
        selected, problems = apply_filters(Task.objects.all(), query)
        if problems:
            raise BadQuery(problems)
        total, exact = capped_count(selected)
        rows = selected.select_related("worker", "run").order_by("-id")
        rows = rows.defer("result", "error").annotate(error_head=Left("error", ERROR_SUMMARY_CHARS))
        if only is not None and {"result", "error"} & set(only):
            rows = rows.defer(None)
        if page.cursor is not None:
            rows = rows.filter(id__lt=page.cursor)
        found = list(rows[: page.limit + 1])
        more, found = len(found) > page.limit, found[: page.limit]
        shape = TaskSummarySerializer if only is None else TaskSerializer
        return Response(
            {
                "tasks": shape(found, many=True, only=only).data,
                "total": total,
                "total_is_exact": exact,
                "next": next_address(request.path, query, found[-1].pk) if more else None,
            }
        )

    @extend_schema(
        operation_id="spawn_task",
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        request=SpawnSerializer,
        responses={201: SpawnedSerializer, 200: SpawnedSerializer},
    )
    def post(self, request: Request) -> Response:
        key = request.headers.get("Idempotency-Key") or None
        repeated = key is not None and IdempotencyKey.objects.filter(key=key).exists()
        wanted = SpawnRequest(**body_of(request, SpawnSerializer), idempotency_key=key)
        task = find_task(str(spawn(wanted, actor=actor_of(request)).task_id))
        task.queue_paused = Queue.objects.get(name=task.queue_id).is_paused  # type: ignore[attr-defined]
        address = f"{request.path.rstrip('/')}/{task.task_id}"
        body = detail_of(task, SpawnedSerializer)
        return Response(body, status=200 if repeated else 201, headers={"Location": address})


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

    @extend_schema(operation_id="get_task", responses=TaskDetailSerializer)
    def get(self, request: Request, task_id: str) -> Response:
        return Response(detail_of(find_task(task_id)))

    @extend_schema(
        operation_id="cancel_task",
        parameters=[OpenApiParameter("reason", str)],
        responses={200: TaskDetailSerializer, 202: TaskDetailSerializer},
        description="200: cancelled. 202: its worker has been asked to stop it. 409: it has already finished.",
    )
    def delete(self, request: Request, task_id: str) -> Response:
        query = request.query_params
        refuse_unknown(query, {"reason"})
        reason = body_of(request, ReasonSerializer)["reason"] or query.get("reason", "")[:2000]
        task = cancel(task_id_of(task_id), actor=actor_of(request), reason=reason.replace("\x00", ""))
        body = detail_of(find_task(task_id))
        return Response(body, status=200 if task.status == TaskStatus.CANCELLED else 202)


class TaskPriorityView(APIView):
    """A task's place in the queue."""

    needs = {"POST": REPRIORITIZE}

    @extend_schema(operation_id="reprioritize_task", request=PrioritySerializer, responses=TaskDetailSerializer)
    def post(self, request: Request, task_id: str) -> Response:
        wanted = body_of(request, PrioritySerializer)
        reprioritize(task_id_of(task_id), wanted["priority"], actor=actor_of(request), reason=wanted["reason"])
        return Response(detail_of(find_task(task_id)))


class TaskRetryView(APIView):
    """Another go for a failed or cancelled task."""

    needs = {"POST": RETRY}

    @extend_schema(operation_id="retry_task", request=ReasonSerializer, responses=TaskDetailSerializer)
    def post(self, request: Request, task_id: str) -> Response:
        retry(task_id_of(task_id), actor=actor_of(request), reason=body_of(request, ReasonSerializer)["reason"])
        return Response(detail_of(find_task(task_id)))
