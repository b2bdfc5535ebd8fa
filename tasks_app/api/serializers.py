"""The shapes of the API: the operations guide's fields under its names, and what goes beyond them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args

from rest_framework import serializers

from tasks_app.api.bodies import StrictSerializer
from tasks_app.models import Task, TaskStatus
from tasks_app.monitoring.explain.findings import Code, Severity
from tasks_app.operations.operation import REASON_CHARS

HEAVY_FIELDS = ("result", "error", "bindings")
ERROR_SUMMARY_CHARS = 300


class TaskSerializer(serializers.ModelSerializer[Task]):
    """A task in full; `only` names the fields that are wanted, by default all of them."""

    queue_name = serializers.CharField(source="queue_id")
    display_status = serializers.CharField(help_text="waiting, scheduled, retrying, cancelling, quarantined or status")
    duration_sec = serializers.FloatField(allow_null=True)
    attempt = serializers.IntegerField(source="claim_epoch", help_text="Attempts started so far.")
    worker_id = serializers.CharField(source="worker_label", default=None, allow_null=True)
    run_id = serializers.UUIDField(source="run_uuid", default=None, allow_null=True)
    error_summary = serializers.SerializerMethodField(help_text="First line of the error.")

    def __init__(self, *args: Any, only: Collection[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._only = only

    class Meta:
        model = Task
        fields = (
            "task_id",
            "queue_name",
            "task_name",
            "params",
            "priority",
            "status",
            "display_status",
            "retry_count",
            "max_retries",
            "attempt",
            "timeout_sec",
            "progress",
            "progress_message",
            "progress_metrics",
            "created_at",
            "claimed_at",
            "completed_at",
            "duration_sec",
            "runnable_at",
            "expires_at",
            "deadline_at",
            "idle_timeout_sec",
            "concurrency_key",
            "join_quorum",
            "join_deadline_at",
            "joined_at",
            "cancel_requested_at",
            "worker_id",
            "run_id",
            "stage",
            "created_by",
            "failure_class",
            "quarantined_at",
            "error_summary",
            "unrunnable_because",
            "bindings",
            "result",
            "error",
        )

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        return fields if self._only is None else {name: fields[name] for name in fields if name in self._only}

    def get_error_summary(self, task: Task) -> str | None:
        text: str | None = getattr(task, "error_head", None) or (task.error if "error" in task.__dict__ else None)
        return text.strip().split("\n", 1)[0][:ERROR_SUMMARY_CHARS] if text else None


class TaskSummarySerializer(TaskSerializer):
    """A task as lists show it: without its result, error and bindings."""

    class Meta(TaskSerializer.Meta):
        fields = tuple(name for name in TaskSerializer.Meta.fields if name not in HEAVY_FIELDS)  # type: ignore[assignment]


class TaskDetailSerializer(TaskSerializer):
    """A task in full, with the tasks it depends on."""

    depends_on = serializers.ListField(child=serializers.UUIDField())
    archived = serializers.BooleanField(
        default=False, help_text="Whether it is in the archive and cannot change any more."
    )

    class Meta(TaskSerializer.Meta):
        fields = (*TaskSerializer.Meta.fields, "depends_on", "archived")  # type: ignore[assignment]


class SpawnedSerializer(TaskDetailSerializer):
    """A new task, and whether its queue is paused."""

    queue_paused = serializers.BooleanField()

    class Meta(TaskDetailSerializer.Meta):
        fields = (*TaskDetailSerializer.Meta.fields, "queue_paused")  # type: ignore[assignment]


class ReasonSerializer(StrictSerializer):
    """Why an operator does something."""

    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=REASON_CHARS)


class EventSerializer(serializers.Serializer[Any]):
    """One thing that happened to a task."""

    event_id = serializers.IntegerField(source="id")
    event_type = serializers.CharField()
    from_status = serializers.CharField()
    to_status = serializers.CharField()
    actor = serializers.CharField()
    reason = serializers.CharField()
    attempt = serializers.IntegerField()
    detail = serializers.DictField()
    created_at = serializers.DateTimeField()


class AttemptSerializer(serializers.Serializer[Any]):
    """One execution of a task."""

    number = serializers.IntegerField()
    worker_id = serializers.CharField(source="worker.label", default=None, allow_null=True)
    host = serializers.CharField(source="worker.host", default=None, allow_null=True)
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    wall_sec = serializers.FloatField(allow_null=True)
    outcome = serializers.CharField()
    error = serializers.CharField()
    traceback = serializers.CharField()
    exit_code = serializers.IntegerField(allow_null=True)
    signal = serializers.CharField()
    log_path = serializers.CharField()
    log_tail = serializers.CharField()
    directory = serializers.CharField()
    peak_rss_bytes = serializers.IntegerField(allow_null=True)
    cpu_sec = serializers.FloatField(allow_null=True)
    read_bytes = serializers.IntegerField(
        allow_null=True, help_text="Read from disks; unknown for attempts that run in a thread."
    )
    write_bytes = serializers.IntegerField(allow_null=True)
    sampled_at = serializers.DateTimeField(allow_null=True, help_text="When these were last measured while it ran.")
    stop_asked_at = serializers.DateTimeField(allow_null=True, help_text="When the worker started to stop it.")
    stop_due_at = serializers.DateTimeField(allow_null=True, help_text="When its slot is free at the latest.")
    stop_reason = serializers.CharField()
    stack = serializers.CharField(help_text="Stacks of its threads when it was stopped or crashed.")


class FindingSerializer(serializers.Serializer[Any]):
    """One cause or fact, and what to do about it."""

    code = serializers.ChoiceField(choices=[code.value for code in Code], help_text="Stable; the text may change.")
    severity = serializers.ChoiceField(
        choices=get_args(Severity),
        help_text="blocking: no claim returns the task until this changes; delaying: others are first; info: a fact.",
    )
    text = serializers.CharField()
    remedy = serializers.CharField(help_text="What to do; empty where nothing needs to be done.")
    detail = serializers.DictField(help_text="The numbers and ids behind the text; its fields depend on the code.")


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why a task is not running, how it is running, or how it ended; the decisive finding first."""

    task_id = serializers.UUIDField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField()
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField(source="state")
    as_of = serializers.DateTimeField(help_text="The database's time at which the rows were read.")
    summary = serializers.CharField()
    is_blocked = serializers.BooleanField(help_text="Whether no claim can return the task now.")
    findings = FindingSerializer(many=True)
