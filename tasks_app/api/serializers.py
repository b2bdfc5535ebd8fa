"""The shapes of answers: the operations guide's fields under its names, and what goes beyond them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from django.db.models import Model
from rest_framework import serializers

from tasks_app.engine.options import PARTS
from tasks_app.engine.registry import DEFAULTED
from tasks_app.models import (
    Acknowledgement,
    Attempt,
    CatchUp,
    Limit,
    Queue,
    Run,
    Schedule,
    SystemState,
    Task,
    TaskEvent,
    TaskStatus,
    Worker,
)
from tasks_app.monitoring.explain.findings import Code, Severity
from tasks_app.monitoring.health.checks import Check
from tasks_app.monitoring.metrics import Metrics
from tasks_app.monitoring.queues import QueueStats
from tasks_app.monitoring.workers import STATES, WorkerReport
from tasks_app.operations.bulk import Refusal
from tasks_app.operations.catalogue import TASK_OPERATIONS
from tasks_app.workflows.graph import Edge, Node, RunGraph
from tasks_app.workflows.state import WORDS, RunState, Trouble

HEAVY_FIELDS = ("result", "error", "bindings")
ERROR_SUMMARY_CHARS = 300
JSON_SCHEMA = "JSON Schema of the params."

M = TypeVar("M", bound=Model)


class ReadSerializer(serializers.ModelSerializer[M]):
    """Columns of a model that are only read: an answer always has all of them."""

    def get_extra_kwargs(self) -> dict[str, dict[str, Any]]:
        return {name: {"required": True} for name in self.Meta.fields}


_FIELDS: Mapping[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    str: serializers.CharField,
    int: serializers.IntegerField,
    float: serializers.FloatField,
    bool: serializers.BooleanField,
    datetime: serializers.DateTimeField,
    UUID: serializers.UUIDField,
}


def _field_of(kind: Any, **options: Any) -> Any:
    """Return the field that shows the values of a type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return serializers.ChoiceField(choices=parts, **options)
    if NoneType in parts:
        return _field_of(next(part for part in parts if part is not NoneType), allow_null=True, **options)
    if origin is list:
        return _field_of(parts[0], many=True, **options)
    if origin is dict:
        return serializers.DictField(child=_field_of(parts[1]), **options)
    return (_FIELDS.get(kind) or shape_of(kind))(**options)


@cache
def shape_of(kind: type, without: Sequence[str] = ()) -> type[serializers.Serializer[Any]]:
    """Return the serializer of a dataclass, named tuple or typed dictionary: its fields with their types."""
    hints = get_type_hints(kind)
    shown = {name: _field_of(hint) for name, hint in hints.items() if name not in without}
    return type(f"{kind.__name__}Serializer", (serializers.Serializer,), {"__doc__": kind.__doc__, **shown})


class TaskSerializer(ReadSerializer[Task]):
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
            "task_id", "queue_name", "task_name", *PARTS, "status", "display_status", "retry_count", "attempt",
            "progress", "progress_message", "progress_metrics", "created_at", "claimed_at", "completed_at",
            "duration_sec", "runnable_at", "expires_at", "deadline_at", "join_quorum", "join_deadline_at", "joined_at",
            "cancel_requested_at", "worker_id", "run_id", "stage", "created_by", "failure_class", "quarantined_at",
            "error_summary", "unrunnable_because", "bindings", "result", "error",
        )  # fmt: skip

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


class EventSerializer(ReadSerializer[TaskEvent]):
    """One event of a task."""

    event_id = serializers.IntegerField(source="id")
    detail = serializers.DictField()

    class Meta:
        model = TaskEvent
        fields = (
            "event_id", "event_type", "from_status", "to_status", "actor", "reason", "attempt", "detail", "created_at",
        )  # fmt: skip


class AttemptSerializer(ReadSerializer[Attempt]):
    """One execution of a task."""

    worker_id = serializers.CharField(source="worker.label", default=None, allow_null=True)
    host = serializers.CharField(source="worker.host", default=None, allow_null=True)
    wall_sec = serializers.FloatField(allow_null=True)

    class Meta:
        model = Attempt
        fields = (
            "number", "worker_id", "host", "started_at", "ended_at", "wall_sec", "outcome", "error", "traceback",
            "exit_code", "signal", "log_path", "log_tail", "directory", "peak_rss_bytes", "cpu_sec", "read_bytes",
            "write_bytes", "sampled_at", "stop_asked_at", "stop_due_at", "stop_reason", "stack",
        )  # fmt: skip


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


CheckSerializer = shape_of(Check, ("subjects", "finding", "acknowledged", "since"))
QueueStatsSerializer = shape_of(QueueStats)
MetricsSerializer = shape_of(Metrics)


class HealthSerializer(serializers.Serializer[Any]):
    """The health of one queue; `reasons` only for callers who may read, `checks` only where asked for."""

    status = serializers.ChoiceField(choices=["healthy", "degraded", "unhealthy", "disabled"])
    message = serializers.CharField()
    queue = serializers.CharField()
    database_available = serializers.BooleanField(required=False)
    queue_depth = serializers.IntegerField(
        required=False, allow_null=True, help_text="Claimable and claimed tasks of the queue; null when not counted."
    )
    reasons = serializers.ListField(child=serializers.CharField(), required=False)
    checks = CheckSerializer(many=True, required=False)
    checked_at = serializers.DateTimeField(required=False, allow_null=True, help_text="When the checks ended.")
    version = serializers.CharField(required=False, help_text="Of the web process that answers; with the checks.")


class AcknowledgementSerializer(ReadSerializer[Acknowledgement]):
    """A finding that an operator has seen; what it reported until then no longer counts."""

    class Meta:
        model = Acknowledgement
        fields = ("finding", "acknowledged_at", "acknowledged_by", "reason")


class SystemStateSerializer(ReadSerializer[SystemState]):
    """Whether tasks are accepted and claimed, and who decided so."""

    class Meta:
        model = SystemState
        fields = ("enabled", "changed_at", "changed_by", "reason")


class FreezeSerializer(serializers.Serializer[Any]):
    """Whether everything is frozen, and by whom."""

    frozen = serializers.BooleanField()
    frozen_at = serializers.DateTimeField(allow_null=True, default=None)
    frozen_by = serializers.CharField(default="")
    reason = serializers.CharField(default="")


class QueueSerializer(ReadSerializer[Queue]):
    """A queue and whether it is paused."""

    queue_name = serializers.CharField(source="name")
    paused = serializers.BooleanField(source="is_paused")

    class Meta:
        model = Queue
        fields = ("queue_name", "paused", "paused_at", "paused_by", "pause_reason", "description")


class WorkerSerializer(ReadSerializer[Any]):
    """A worker process and what it is doing; made of a WorkerReport."""

    worker_id = serializers.CharField(source="label")
    boot_id = serializers.UUIDField(source="id")
    queues = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=STATES)
    heartbeat_age_sec = serializers.FloatField()
    tasks = serializers.ListField(source="task_ids", child=serializers.UUIDField())

    class Meta:
        model = Worker
        fields = (
            "worker_id", "boot_id", "state", "host", "pid", "version", "queues", "concurrency", "memory_gb", "cores",
            "disk_gb", "rss_bytes", "clock_skew_sec", "draining", "ordered", "ordered_by", "ordered_at",
            "order_reason", "drains_at", "started_at", "heartbeat_at", "heartbeat_age_sec", "stopped_at", "tasks",
        )  # fmt: skip

    def to_representation(self, report: WorkerReport) -> dict[str, Any]:
        shown: Any = report.worker
        shown.state, shown.heartbeat_age_sec = report.state, report.heartbeat_age_sec
        shown.task_ids = [task.task_id for task in report.tasks]
        return super().to_representation(shown)


class LimitSerializer(ReadSerializer[Limit]):
    """How many tasks of a queue, or of a key, may be claimed at once."""

    taken = serializers.IntegerField(source="n_taken", help_text="Slots that claimed tasks occupy now.")

    class Meta:
        model = Limit
        fields = ("scope", "name", "size", "taken", "explicit")


class ScheduleSerializer(ReadSerializer[Schedule]):
    """A task that is spawned by the clock."""

    params = serializers.DictField()
    catch_up = serializers.ChoiceField(choices=CatchUp.values)

    class Meta:
        model = Schedule
        fields = (
            "name", "cron", "time_zone", "task_name", "params", "queue_name", "priority", "enabled", "catch_up",
            "jitter_sec", "next_run_at", "last_run_at", "last_task_id", "last_error", "created_by", "created_at",
        )  # fmt: skip


class ScheduleDetailSerializer(ScheduleSerializer):
    """A schedule with its next few moments."""

    upcoming = serializers.ListField(child=serializers.DateTimeField())

    class Meta(ScheduleSerializer.Meta):
        fields = (*ScheduleSerializer.Meta.fields, "upcoming")  # type: ignore[assignment]


class TaskNameSerializer(serializers.Serializer[Any]):
    """A task name and what its tasks may use; null where the queue or the settings decide."""

    task_name = serializers.CharField(source="name")
    description = serializers.CharField()
    memory_gb = serializers.FloatField()
    cores = serializers.IntegerField()
    disk_gb = serializers.FloatField()
    isolation = serializers.ChoiceField(choices=["process", "thread"])

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **{name: serializers.IntegerField(allow_null=True) for name in DEFAULTED}}


class TaskNameDetailSerializer(TaskNameSerializer):
    """A task name with what its params must be."""

    params_schema = serializers.DictField(source="schema", help_text=JSON_SCHEMA)


class WorkflowSerializer(serializers.Serializer[Any]):
    """A workflow that runs can be spawned of by name."""

    name = serializers.CharField()
    description = serializers.CharField()
    params_schema = serializers.DictField(source="schema", help_text=JSON_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """A run with what is derived from its tasks."""

    run: Run
    state: RunState
    graph: RunGraph | None = None

    @property
    def blocked(self) -> list[UUID]:
        """Tasks that wait, or failed, because of the task in `trouble`."""
        return self.graph.behind(self.state.trouble.task_id) if self.graph and self.state.trouble else []


class RunSerializer(serializers.Serializer[Any]):
    """A run and how it stands; built from a row and its state."""

    run_id = serializers.UUIDField(source="run.run_id")
    workflow = serializers.CharField(source="run.workflow")
    label = serializers.CharField(source="run.label")  # type: ignore[assignment]
    created_at = serializers.DateTimeField(source="run.created_at")
    created_by = serializers.CharField(source="run.created_by")
    state = serializers.ChoiceField(source="state.word", choices=WORDS)
    reason = serializers.CharField(source="state.reason", help_text="Why it has this state.")
    progress = serializers.FloatField(source="state.progress", help_text="Fraction of its tasks that have completed.")
    total = serializers.IntegerField(source="state.total", help_text="Tasks, without superseded ones.")
    pending = serializers.IntegerField(source="state.pending")
    claimed = serializers.IntegerField(source="state.claimed")
    completed = serializers.IntegerField(source="state.completed")
    failed = serializers.IntegerField(source="state.failed")
    cancelled = serializers.IntegerField(source="state.cancelled")
    waiting = serializers.IntegerField(source="state.waiting", help_text="Pending ones that wait for other tasks.")
    done_without = serializers.IntegerField(
        source="state.done_without", help_text="Failed or cancelled tasks that no dependent task needed."
    )
    superseded = serializers.IntegerField(source="state.superseded", help_text="Superseded tasks.")
    started_at = serializers.DateTimeField(source="state.started_at", allow_null=True)
    finished_at = serializers.DateTimeField(source="state.finished_at", allow_null=True)
    trouble = shape_of(Trouble)(source="state.trouble", allow_null=True)


NodeSerializer = shape_of(Node, ("error", "is_held"))


class GraphSerializer(serializers.Serializer[Any]):
    """The tasks of a run and the edges between them."""

    nodes = NodeSerializer(source="graph.nodes", many=True)
    outside = NodeSerializer(
        source="graph.outside", many=True, help_text="Tasks of other runs that these depend on or that depend on these."
    )
    edges = shape_of(Edge)(source="graph.edges", many=True)
    blocked = serializers.ListField(
        child=serializers.UUIDField(), help_text="Tasks that wait, or have failed, because of the task in `trouble`."
    )
    truncated = serializers.BooleanField(source="graph.truncated")


class RunGraphSerializer(GraphSerializer, RunSerializer):
    """A run with its tasks and the edges between them."""

    params = serializers.DictField(source="run.params")


class SampleSerializer(serializers.Serializer[Any]):
    """One of the selected tasks."""

    task_id = serializers.UUIDField()
    task_name = serializers.CharField()
    queue_name = serializers.CharField(source="queue_id")
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField()
    refusal = serializers.CharField(help_text="Why it cannot be done to it now; empty when it can.")


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
    refusals = shape_of(Refusal)(many=True, required=False, help_text="The first of them.")
    left = serializers.IntegerField(
        required=False, help_text="Tasks that were not reached within the time of a request; repeat the dry run."
    )
