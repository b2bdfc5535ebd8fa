"""The shapes of verbs on all tasks that fit a filter."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.api.serializers import ReasonSerializer
from tasks_app.models import TaskStatus
from tasks_app.operations import bulk
from tasks_app.priority import PRIORITY_LEAST, PRIORITY_MOST


class BulkSerializer(ReasonSerializer):
    """What is to be done to which tasks, and why."""

    verb = serializers.ChoiceField(choices=list(bulk.VERBS))
    filter = serializers.DictField(
        allow_empty=False,
        help_text="The names and values of the query of the list of tasks; a value may be a list. At least one.",
    )
    priority = serializers.IntegerField(
        min_value=PRIORITY_LEAST, max_value=PRIORITY_MOST, required=False, help_text="With reprioritize."
    )
    force = serializers.BooleanField(required=False, help_text="With requeue: also claims whose lease is still valid.")
    dry_run = serializers.BooleanField(required=False, default=True)
    token = serializers.CharField(
        required=False,
        max_length=20_000,
        help_text="Token of a dry run of the same operation and filter, valid for ten minutes.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        needed = {"priority"} if attrs["verb"] == bulk.REPRIORITIZE.name else set()
        if not attrs["dry_run"]:
            needed |= {"token", "reason"}
        faults = {name: "this field is required" for name in sorted(needed) if not attrs.get(name)}
        if attrs["verb"] != bulk.REPRIORITIZE.name and "priority" in attrs:
            faults["priority"] = "only reprioritize has it"
        if attrs["verb"] != bulk.REQUEUE.name and "force" in attrs:
            faults["force"] = "only requeue has it"
        if faults:
            raise serializers.ValidationError(faults)
        return attrs


class SampleSerializer(serializers.Serializer[Any]):
    """One of the selected tasks."""

    task_id = serializers.UUIDField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField(source="queue_id")
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField()
    refusal = serializers.CharField(help_text="Why the task cannot be changed now; empty when it can.")


class RefusalSerializer(serializers.Serializer[Any]):
    """A task to which it could not be done."""

    task_id = serializers.UUIDField()
    why = serializers.CharField()


class BulkResultSerializer(serializers.Serializer[Any]):
    """What would be done, with the token to do it; or what was done."""

    dry_run = serializers.BooleanField()
    verb = serializers.ChoiceField(choices=list(bulk.VERBS))
    count = serializers.IntegerField(help_text="Tasks that match the filter.")
    statuses = serializers.DictField(child=serializers.IntegerField(), help_text="The same by stored status.")
    token = serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes.")
    sample = SampleSerializer(many=True, required=False, help_text="Of a dry run: the oldest of the tasks.")
    outcomes = serializers.DictField(child=serializers.IntegerField(), required=False, help_text="Tasks by outcome.")
    refused = serializers.DictField(
        child=serializers.IntegerField(), required=False, help_text="Tasks that were refused, by reason."
    )
    refusals = RefusalSerializer(many=True, required=False, help_text="The first of them.")
    left = serializers.IntegerField(
        required=False, help_text="Tasks not reached within the time limit of a request; repeat the dry run."
    )
