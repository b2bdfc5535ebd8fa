"""The shapes of the emergency stop and the way back."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.api.bodies import StrictSerializer
from tasks_app.api.serializers import REASON_CHARS


class ConfirmedSerializer(StrictSerializer):
    """Why, whether only to look, and the token of that look."""

    reason = serializers.CharField(max_length=REASON_CHARS)
    dry_run = serializers.BooleanField(required=False, default=True)
    token = serializers.CharField(
        required=False, max_length=20_000, help_text="Token of a dry run with the same content, valid for ten minutes."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs["dry_run"] and not attrs.get("token"):
            raise serializers.ValidationError({"token": "this field is required"})
        return attrs


class EmergencyStopSerializer(ConfirmedSerializer):
    """What is to be stopped beyond the freeze of everything."""

    stop_running = serializers.BooleanField(
        required=False, default=False, help_text="Stop running tasks; they become cancelled."
    )
    cancel_pending = serializers.BooleanField(required=False, default=False, help_text="Cancel pending tasks.")
    drain_workers = serializers.BooleanField(required=False, default=False, help_text="Drain the workers.")


class EmergencyRecoverySerializer(ConfirmedSerializer):
    """What is to be retried before paused workers resume and everything is thawed."""

    retry_failed = serializers.BooleanField(required=False, default=False, help_text="All tasks that match the filter.")
    filter = serializers.DictField(
        required=False, default=dict, help_text="With retry_failed: names and values of the query of the list of tasks."
    )
    retry_cancelled = serializers.BooleanField(
        required=False, default=False, help_text="Tasks that emergency stops have cancelled."
    )
    since = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Of stops since then; default: since the freeze."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["filter"] and not attrs["retry_failed"]:
            raise serializers.ValidationError({"filter": "only retry_failed has it"})
        if "status" in attrs["filter"]:
            raise serializers.ValidationError({"filter": "only failed tasks are retried: leave out status"})
        return super().validate(attrs)


class StoppedSerializer(serializers.Serializer[Any]):
    """What there is to stop, with the token to do it; or what was done."""

    dry_run = serializers.BooleanField()
    frozen = serializers.BooleanField(help_text="Whether everything is frozen now.")
    pending = serializers.IntegerField()
    running = serializers.IntegerField()
    workers = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="Those of them that had already ended.")
    left = serializers.IntegerField(
        help_text="Those of them not reached within the time limit of a request; repeat it from the dry run."
    )
    token = serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes.")


class RecoveredSerializer(serializers.Serializer[Any]):
    """What would be done, with the token to do it; or what was done."""

    dry_run = serializers.BooleanField()
    frozen = serializers.BooleanField(help_text="Whether everything is frozen now.")
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    workers = serializers.IntegerField(help_text="Paused workers that are resumed; drained ones must be started again.")
    thawed = serializers.BooleanField()
    refused = serializers.IntegerField()
    left = serializers.IntegerField(
        help_text="Tasks not reached within the time limit of a request; everything stays frozen until it is repeated."
    )
    token = serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes.")
