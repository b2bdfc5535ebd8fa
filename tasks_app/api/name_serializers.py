"""The shapes of task names and workflows in the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

JSON_SCHEMA = "JSON Schema of the params."


class TaskNameSerializer(serializers.Serializer[Any]):
    """A task name and what its tasks may use; null where the queue or the settings decide."""

    task_name = serializers.CharField(source="name")
    description = serializers.CharField()
    timeout_sec = serializers.IntegerField(allow_null=True)
    max_retries = serializers.IntegerField(allow_null=True)
    idle_timeout_sec = serializers.IntegerField(allow_null=True)
    total_timeout_sec = serializers.IntegerField(allow_null=True)
    memory_gb = serializers.FloatField()
    cores = serializers.IntegerField()
    disk_gb = serializers.FloatField()
    isolation = serializers.ChoiceField(choices=["process", "thread"])


class TaskNameListSerializer(serializers.Serializer[Any]):
    """All registered task names."""

    task_names = TaskNameSerializer(many=True)


class TaskNameDetailSerializer(TaskNameSerializer):
    """A task name with what its params must be."""

    params_schema = serializers.DictField(source="schema", help_text=JSON_SCHEMA)


class WorkflowSerializer(serializers.Serializer[Any]):
    """A workflow that runs can be spawned of by name."""

    name = serializers.CharField()
    description = serializers.CharField()
    params_schema = serializers.DictField(source="schema", help_text=JSON_SCHEMA)


class WorkflowListSerializer(serializers.Serializer[Any]):
    """All registered workflows."""

    workflows = WorkflowSerializer(many=True)
