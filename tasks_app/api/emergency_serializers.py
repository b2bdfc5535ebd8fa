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
        required=False, max_length=20_000, help_text="From the dry run of the same, for ten minutes."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs["dry_run"] and not attrs.get("token"):
            raise serializers.ValidationError({"token": "this is needed here"})
        return attrs


class EmergencyStopSerializer(ConfirmedSerializer):
    """What is to be stopped beyond the freeze of everything."""

    stop_running = serializers.BooleanField(required=False, default=False, help_text="End what runs, as cancelled.")
    cancel_pending = serializers.BooleanField(required=False, default=False, help_text="Cancel what waits.")
    drain_workers = serializers.BooleanField(required=False, default=False, help_text="End the workers.")


class EmergencyRecoverySerializer(ConfirmedSerializer):
    """What is to be retried before paused workers resume and everything is thawed."""

    retry_failed = serializers.BooleanField(required=False, default=False, help_text="All that fit the filter.")
    filter = serializers.DictField(
        required=False, default=dict, help_text="With retry_failed: names and values of the query of the list of tasks."
    )
    retry_cancelled = serializers.BooleanField(
        required=False, default=False, help_text="What emergency stops have cancelled."
    )
    since = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Of stops from then on; absent: from the freeze on."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["filter"] and not attrs["retry_failed"]:
            raise serializers.ValidationError({"filter": "only retry_failed has it"})
        if "status" in attrs["filter"]:
            raise serializers.ValidationError({"filter": "failed tasks are meant; leave status out"})
        return super().validate(attrs)


class StoppedSerializer(serializers.Serializer[Any]):
    """What there is to stop, with the token to do it; or what was done."""

    dry_run = serializers.BooleanField()
    frozen = serializers.BooleanField(help_text="Whether everything is frozen now.")
    pending = serializers.IntegerField()
    running = serializers.IntegerField()
    workers = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="Of these, those that ended in that moment.")
    left = serializers.IntegerField(
        help_text="Of these, those not reached within the time of a request; repeat it from a look."
    )
    token = serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes.")


class RecoveredSerializer(serializers.Serializer[Any]):
    """What would be done, with the token to do it; or what was done."""

    dry_run = serializers.BooleanField()
    frozen = serializers.BooleanField(help_text="Whether everything is frozen now.")
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    workers = serializers.IntegerField(help_text="Paused ones that resume; drained ones are started anew.")
    thawed = serializers.BooleanField()
    refused = serializers.IntegerField()
    left = serializers.IntegerField(
        help_text="Tasks not reached within the time of a request; all stays frozen until it is repeated."
    )
    token = serializers.CharField(required=False, help_text="Of a dry run: valid for ten minutes.")
