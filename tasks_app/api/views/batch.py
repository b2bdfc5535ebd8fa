"""Several tasks in one request."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.serializers import SpawnedSerializer
from tasks_app.api.spawn_bodies import Batch
from tasks_app.api.views.request import IDEMPOTENCY_KEY, actor_of, idempotency_key_of
from tasks_app.api.views.tasks import as_spawned
from tasks_app.auth.requirements import SPAWN
from tasks_app.engine.spawn import BATCH_MOST, spawn_batch


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
