"""The shapes of runs in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rest_framework import serializers

from tasks_app.models import Run, TaskStatus
from tasks_app.workflows.graph import RunGraph
from tasks_app.workflows.state import WORDS, RunState


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


class TroubleSerializer(serializers.Serializer[Any]):
    """The task that failed first, or that blocks the waiting tasks of a stalled run."""

    task_id = serializers.UUIDField()
    run_id = serializers.UUIDField(allow_null=True, help_text="Run of that task; it may be another run.")
    stage = serializers.CharField()
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    failure_class = serializers.CharField()
    error = serializers.CharField()


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
    trouble = TroubleSerializer(source="state.trouble", allow_null=True)


class NodeSerializer(serializers.Serializer[Any]):
    """A task in a run's graph."""

    task_id = serializers.UUIDField()
    run_id = serializers.UUIDField(allow_null=True)
    stage = serializers.CharField()
    task_name = serializers.CharField()
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    display_status = serializers.CharField()
    reason = serializers.CharField(help_text="Why it waits, or its error.")
    progress = serializers.FloatField(allow_null=True)
    failure_class = serializers.CharField()
    superseded = serializers.BooleanField(help_text="Whether a new task supersedes it.")
    created_at = serializers.DateTimeField()
    claimed_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    duration_sec = serializers.FloatField(allow_null=True)


class EdgeSerializer(serializers.Serializer[Any]):
    """The child waits for the parent."""

    parent = serializers.UUIDField()  # type: ignore[assignment]
    child = serializers.UUIDField()


class GraphSerializer(serializers.Serializer[Any]):
    """The tasks of a run and the edges between them."""

    nodes = NodeSerializer(source="graph.nodes", many=True)
    outside = NodeSerializer(
        source="graph.outside", many=True, help_text="Tasks of other runs that these depend on or that depend on these."
    )
    edges = EdgeSerializer(source="graph.edges", many=True)
    blocked = serializers.ListField(
        child=serializers.UUIDField(), help_text="Tasks that wait, or have failed, because of the task in `trouble`."
    )
    truncated = serializers.BooleanField(source="graph.truncated")


class RunGraphSerializer(GraphSerializer, RunSerializer):
    """A run with its tasks and the edges between them."""

    params = serializers.DictField(source="run.params")
