"""The shapes of the metrics."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.api.serializers import QueueStatsSerializer


class PercentilesSerializer(serializers.Serializer[Any]):
    """Percentiles of a duration in seconds; null where nothing was measured."""

    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class ThroughputSerializer(serializers.Serializer[Any]):
    """Tasks completed in a second; `over_sec` is shorter than asked for where the window's rows ran out."""

    tasks_per_sec = serializers.FloatField(allow_null=True)
    over_sec = serializers.FloatField()


class QueueFiguresSerializer(serializers.Serializer[Any]):
    """One queue: counts, throughput over 1, 5 and 15 minutes, waiting, and rates over the window."""

    queue_name = serializers.CharField()
    tasks = QueueStatsSerializer()
    paused = serializers.BooleanField()
    oldest_pending_sec = serializers.FloatField(allow_null=True)
    throughput = serializers.DictField(child=ThroughputSerializer())
    failure_rate = serializers.FloatField(allow_null=True)
    retry_rate = serializers.FloatField(allow_null=True)


class TaskNameFiguresSerializer(serializers.Serializer[Any]):
    """One task name, over the window."""

    task_name = serializers.CharField()
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    attempts = serializers.IntegerField()
    failure_rate = serializers.FloatField(allow_null=True)
    retry_rate = serializers.FloatField(allow_null=True)
    wait_sec = PercentilesSerializer()
    run_sec = PercentilesSerializer()


class WindowFiguresSerializer(serializers.Serializer[Any]):
    """Rows looked at, and how far back they go: a day, or less where there are more than 10,000."""

    rows = serializers.IntegerField()
    over_sec = serializers.FloatField()


class WorkerFiguresSerializer(serializers.Serializer[Any]):
    """Workers by state, and the slots of those that are up."""

    states = serializers.DictField(child=serializers.IntegerField())
    slots = serializers.IntegerField()
    slots_taken = serializers.IntegerField()


class FeedFiguresSerializer(serializers.Serializer[Any]):
    """Events, and the wake-ups that the answering process could not send."""

    last_event = serializers.IntegerField()
    withheld_events = serializers.IntegerField()
    withheld_sec = serializers.FloatField()
    wakeup_failures = serializers.IntegerField()


class DatabaseFiguresSerializer(serializers.Serializer[Any]):
    """The database behind it all."""

    size_bytes = serializers.IntegerField()
    connections = serializers.IntegerField()
    connections_most = serializers.IntegerField()
    unfolded_changes = serializers.IntegerField()
    dead_rows = serializers.DictField(child=serializers.IntegerField())
    oldest_transaction_sec = serializers.FloatField(allow_null=True)


class MetricsSerializer(serializers.Serializer[Any]):
    """All figures at one moment, at most two seconds old; null where there was nothing to measure."""

    at = serializers.DateTimeField()
    frozen = serializers.BooleanField()
    queues = QueueFiguresSerializer(many=True)
    task_names = TaskNameFiguresSerializer(many=True)
    finished = WindowFiguresSerializer()
    attempts = WindowFiguresSerializer()
    refused_writes = WindowFiguresSerializer()
    workers = WorkerFiguresSerializer()
    feed = FeedFiguresSerializer()
    database = DatabaseFiguresSerializer()
