"""The shapes of limits in the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.api.serializers import ReasonSerializer
from tasks_app.models import Limit
from tasks_app.operations.limit import SIZE_MOST


class LimitSerializer(serializers.Serializer[Any]):
    """How many tasks of a queue, or of a key, may be claimed at once."""

    scope = serializers.ChoiceField(choices=Limit.Scope.choices)
    name = serializers.CharField(help_text="The queue's name, or the tasks' limit key.")
    size = serializers.IntegerField()
    taken = serializers.IntegerField(source="n_taken", help_text="Slots that claimed tasks occupy now.")
    explicit = serializers.BooleanField(help_text="Set by somebody, and not made for a task's key.")


class LimitListSerializer(serializers.Serializer[Any]):
    """One page of limits, oldest first."""

    limits = LimitSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="Where the next page is, if there is one.")


class SetLimitSerializer(ReasonSerializer):
    """How many, and why."""

    size = serializers.IntegerField(min_value=1, max_value=SIZE_MOST)
