"""The shapes of what operations answer."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.models import TaskStatus
from tasks_app.operations.catalogue import TASK_OPERATIONS


class FreezeSerializer(serializers.Serializer[Any]):
    """Whether everything is frozen, and by whom."""

    frozen = serializers.BooleanField()
    frozen_at = serializers.DateTimeField(allow_null=True, default=None)
    frozen_by = serializers.CharField(default="")
    reason = serializers.CharField(default="")


class SystemStateSerializer(serializers.Serializer[Any]):
    """Whether tasks are accepted and claimed, and who said so."""

    enabled = serializers.BooleanField()
    changed_at = serializers.DateTimeField()
    changed_by = serializers.CharField()
    reason = serializers.CharField()


class SampleSerializer(serializers.Serializer[Any]):
    """One of the selected tasks."""

    task_id = serializers.UUIDField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField(source="queue_id")
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField()
    refusal = serializers.CharField(help_text="Why it cannot be done to it now; empty when it can.")


class RefusalSerializer(serializers.Serializer[Any]):
    """A task to which the operation could not be done."""

    task_id = serializers.UUIDField()
    why = serializers.CharField()


class BulkResultSerializer(serializers.Serializer[Any]):
    """What would be done, with the token to do it; or what was done."""

    dry_run = serializers.BooleanField()
    operation = serializers.ChoiceField(choices=list(TASK_OPERATIONS))
    count = serializers.IntegerField(help_text="Tasks that match the filter.")
    statuses = serializers.DictField(child=serializers.IntegerField(), help_text="The same by stored status.")
    token = serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes.")
    sample = SampleSerializer(many=True, required=False, help_text="Of a dry run: the oldest of the tasks.")
    outcomes = serializers.DictField(
        child=serializers.IntegerField(), required=False, help_text="Tasks by what has become of them."
    )
    refused = serializers.DictField(
        child=serializers.IntegerField(), required=False, help_text="Tasks to which it could not be done, by reason."
    )
    refusals = RefusalSerializer(many=True, required=False, help_text="The first of them.")
    left = serializers.IntegerField(
        required=False, help_text="Tasks that were not reached within the time of a request; repeat the dry run."
    )
