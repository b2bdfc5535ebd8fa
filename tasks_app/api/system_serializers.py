"""The system in the API: health, queues, metrics, workers, limits, schedules, and what can be spawned."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.models import Limit, Schedule, WorkerOrder
from tasks_app.monitoring import workers
from tasks_app.monitoring.workers import WorkerReport

JSON_SCHEMA = "JSON Schema of the params."


class CheckSerializer(serializers.Serializer[Any]):
    """One thing that was looked at: its state, what was measured against what, and what is to be done."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["ok", "warn", "bad"])
    message = serializers.CharField()
    remedy = serializers.CharField(allow_blank=True)
    value = serializers.FloatField(allow_null=True)
    threshold = serializers.FloatField(allow_null=True)


class HealthSerializer(serializers.Serializer[Any]):
    """The health of one queue; `reasons` only for callers who may read, `checks` only where asked for."""

    status = serializers.ChoiceField(choices=["healthy", "degraded", "unhealthy", "disabled"])
    message = serializers.CharField()
    queue = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField(), required=False)
    checks = CheckSerializer(many=True, required=False)
    checked_at = serializers.DateTimeField(required=False, allow_null=True, help_text="When the checks ended.")


class AcknowledgementSerializer(serializers.Serializer[Any]):
    """A finding that has been seen: what it reported until then no longer counts."""

    finding = serializers.CharField()
    acknowledged_at = serializers.DateTimeField()
    acknowledged_by = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)


class QueueStatsSerializer(serializers.Serializer[Any]):
    """Tasks of one queue, counted by stored status."""

    queue_name = serializers.CharField()
    pending = serializers.IntegerField()
    claimed = serializers.IntegerField()
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    total = serializers.IntegerField()


class QueueSerializer(serializers.Serializer[Any]):
    """A queue and whether it is paused."""

    queue_name = serializers.CharField(source="name")
    paused = serializers.BooleanField(source="is_paused")
    paused_at = serializers.DateTimeField(allow_null=True)
    paused_by = serializers.CharField()
    pause_reason = serializers.CharField()
    description = serializers.CharField()


class WorkerSerializer(serializers.Serializer[Any]):
    """A worker process and what it is doing."""

    worker_id = serializers.CharField(source="worker.label")
    boot_id = serializers.UUIDField(source="worker.id")
    state = serializers.ChoiceField(choices=workers.STATES)
    host = serializers.CharField(source="worker.host")
    pid = serializers.IntegerField(source="worker.pid")
    version = serializers.CharField(source="worker.version")
    queues = serializers.ListField(source="worker.queues", child=serializers.CharField())
    concurrency = serializers.IntegerField(source="worker.concurrency")
    memory_gb = serializers.FloatField(source="worker.memory_gb")
    cores = serializers.IntegerField(source="worker.cores", help_text="Cores of its host for tasks.")
    disk_gb = serializers.FloatField(source="worker.disk_gb", help_text="Free space where it writes products.")
    rss_bytes = serializers.IntegerField(source="worker.rss_bytes")
    clock_skew_sec = serializers.FloatField(
        source="worker.clock_skew_sec", allow_null=True, help_text="Its host's clock minus the database's."
    )
    draining = serializers.BooleanField(
        source="worker.draining", help_text="It claims no more tasks and exits when its running tasks end."
    )
    ordered = serializers.ChoiceField(source="worker.ordered", choices=["", *WorkerOrder.values])
    ordered_by = serializers.CharField(source="worker.ordered_by")
    ordered_at = serializers.DateTimeField(source="worker.ordered_at", allow_null=True)
    order_reason = serializers.CharField(source="worker.order_reason")
    started_at = serializers.DateTimeField(source="worker.started_at")
    heartbeat_at = serializers.DateTimeField(source="worker.heartbeat_at")
    heartbeat_age_sec = serializers.FloatField()
    stopped_at = serializers.DateTimeField(source="worker.stopped_at", allow_null=True)
    tasks = serializers.SerializerMethodField()

    def get_tasks(self, report: WorkerReport) -> list[str]:
        return [str(task.task_id) for task in report.tasks]


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


class LimitSerializer(serializers.Serializer[Any]):
    """How many tasks of a queue, or of a key, may be claimed at once."""

    scope = serializers.ChoiceField(choices=Limit.Scope.choices)
    name = serializers.CharField(help_text="The queue's name, or the concurrency_key.")
    size = serializers.IntegerField()
    taken = serializers.IntegerField(source="n_taken", help_text="Slots that claimed tasks occupy now.")
    explicit = serializers.BooleanField(help_text="Set by an operator, not created for a concurrency_key.")


class ScheduleSerializer(serializers.ModelSerializer[Schedule]):
    """A task that is spawned by the clock."""

    class Meta:
        model = Schedule
        fields = (
            "name",
            "cron",
            "time_zone",
            "task_name",
            "params",
            "queue_name",
            "priority",
            "enabled",
            "catch_up",
            "jitter_sec",
            "next_run_at",
            "last_run_at",
            "last_task_id",
            "last_error",
            "created_by",
            "created_at",
        )


class ScheduleDetailSerializer(ScheduleSerializer):
    """A schedule with its next few moments."""

    upcoming = serializers.ListField(child=serializers.DateTimeField())

    class Meta(ScheduleSerializer.Meta):
        fields = (*ScheduleSerializer.Meta.fields, "upcoming")  # type: ignore[assignment]


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


class TaskNameDetailSerializer(TaskNameSerializer):
    """A task name with what its params must be."""

    params_schema = serializers.DictField(source="schema", help_text=JSON_SCHEMA)


class WorkflowSerializer(serializers.Serializer[Any]):
    """A workflow that runs can be spawned of by name."""

    name = serializers.CharField()
    description = serializers.CharField()
    params_schema = serializers.DictField(source="schema", help_text=JSON_SCHEMA)
