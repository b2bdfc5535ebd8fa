"""Several tasks in one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.batch_serializers import BatchSerializer, BatchSpawnedSerializer
from tasks_app.api.bodies import body_of
from tasks_app.api.views.request import IDEMPOTENCY_KEY, actor_of, idempotency_key_of
from tasks_app.auth.requirements import SPAWN
from tasks_app.engine import lookup
from tasks_app.engine.options import SpawnRequest
from tasks_app.engine.spawn_batch import TASKS_MOST, spawn_batch
from tasks_app.models import Queue, Task, TaskDependency


class BatchView(APIView):
    """Spawns several tasks, all or none."""

    needs = {"POST": SPAWN}

    @extend_schema(
        operation_id="spawn_tasks",
        parameters=[IDEMPOTENCY_KEY],
        request=BatchSerializer,
        responses={201: BatchSpawnedSerializer, 200: BatchSpawnedSerializer},
        description=(
            f"Up to {TASKS_MOST} tasks. Where one is wrong none is spawned, and `errors` has the path of each fault. "
            "200: the Idempotency-Key was used before, and these are the tasks of that time."
        ),
    )
    def post(self, request: Request) -> Response:
        wanted = [SpawnRequest(**each) for each in body_of(request, BatchSerializer)["tasks"]]
        tasks, repeated = spawn_batch(wanted, actor=actor_of(request), key=idempotency_key_of(request))
        told = _as_they_stand([task.task_id for task in tasks])
        return Response(BatchSpawnedSerializer({"tasks": told}).data, status=200 if repeated else 201)


def _as_they_stand(task_ids: Sequence[UUID]) -> list[Task]:
    """Return the tasks with all that is shown of new ones, in a fixed number of queries where none is archived."""
    rows = {row.task_id: row for row in Task.objects.filter(task_id__in=task_ids).select_related("worker", "run")}
    paused = {
        queue.name: queue.is_paused for queue in Queue.objects.filter(name__in={r.queue_id for r in rows.values()})
    }
    parents: defaultdict[UUID, list[UUID]] = defaultdict(list)
    edges = TaskDependency.objects.filter(child_task_id__in=task_ids).order_by("id")
    for child, parent in edges.values_list("child_task_id", "parent_task_id"):
        parents[child].append(parent)
    found = []
    for task_id in task_ids:
        task: Any = rows.get(task_id) or lookup.find(task_id)
        task.depends_on = parents[task_id]
        task.queue_paused = paused.get(task.queue_id, False)
        found.append(task)
    return found
