"""The shapes of limits in the API."""

from __future__ import annotations

from rest_framework import serializers

from tasks_app.api.serializers import ReasonSerializer
from tasks_app.operations.limit import SIZE_MOST


class SetLimitSerializer(ReasonSerializer):
    """How many, and why."""

    size = serializers.IntegerField(min_value=1, max_value=SIZE_MOST)
