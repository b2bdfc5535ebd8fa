"""The shapes of several tasks that are spawned at once."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.api.bodies import StrictSerializer
from tasks_app.api.serializers import SpawnedSerializer, SpawnSerializer
from tasks_app.engine.idempotency import KEY_CHARS
from tasks_app.engine.spawn_batch import TASKS_MOST


class BatchItemSerializer(SpawnSerializer):
    """One of the tasks, which may have an idempotency key of its own."""

    idempotency_key = serializers.CharField(max_length=KEY_CHARS, required=False)


class BatchSerializer(StrictSerializer):
    """Tasks that are to be spawned, all or none."""

    tasks: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=BatchItemSerializer(), allow_empty=False, max_length=TASKS_MOST
    )


class BatchSpawnedSerializer(serializers.Serializer[Any]):
    """The tasks in the order in which they were asked for."""

    tasks = SpawnedSerializer(many=True)
