"""The shapes of schedules in the API."""

from __future__ import annotations

from rest_framework import serializers

from tasks_app.api.serializers import ReasonSerializer
from tasks_app.models import CatchUp
from tasks_app.priority import PRIORITY_DEFAULT, PRIORITY_LEAST, PRIORITY_MOST


class SaveScheduleSerializer(ReasonSerializer):
    """All that a schedule is, and why it is made or changed."""

    cron = serializers.CharField(max_length=100, help_text="Minute, hour, day of month, month, day of week.")
    task_name = serializers.CharField(max_length=100)
    time_zone = serializers.CharField(max_length=50, default="UTC", help_text="Such as UTC or America/Los_Angeles.")
    params = serializers.DictField(default=dict)
    queue_name = serializers.CharField(
        max_length=100, default="", allow_blank=True, help_text="Empty: the default queue."
    )
    priority = serializers.IntegerField(min_value=PRIORITY_LEAST, max_value=PRIORITY_MOST, default=PRIORITY_DEFAULT)
    enabled = serializers.BooleanField(default=True)
    catch_up = serializers.ChoiceField(
        choices=CatchUp.choices, default=CatchUp.ONE, help_text="What is spawned for missed runs."
    )
    jitter_sec = serializers.IntegerField(min_value=0, max_value=86_400, default=0)
