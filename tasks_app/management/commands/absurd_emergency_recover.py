"""`manage.py absurd_emergency_recover`: the way back from an emergency stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from tasks_app.formats import count
from tasks_app.formats import moment as written
from tasks_app.management.operations import EmergencyCommand
from tasks_app.management.selection import add_conditions, conditions_in, has_conditions
from tasks_app.management.shell import refuse
from tasks_app.operations.emergency import RecoverCounts, RecoverParams, emergency_recover
from tasks_app.operations.system import current_freeze


class Command(EmergencyCommand):
    operation = emergency_recover
    without = ("filter",)
    heading = "RECOVERY from an emergency stop"

    def add_arguments(self, parser: CommandParser) -> None:
        add_conditions(parser, status_help="failed is meant in any case")
        super().add_arguments(parser)

    def given(self, options: dict[str, Any]) -> dict[str, Any]:
        if has_conditions(options) and not options["retry_failed"]:
            refuse("the conditions select failed tasks: give --retry-failed with them")
        if set(options["status"]) - {"failed"}:
            refuse("--status: only failed tasks are selected by conditions")
        return {**super().given(options), "filter": conditions_in({**options, "status": []})}

    def plan(self, params: RecoverParams, counts: RecoverCounts) -> Iterator[str]:
        if params.retry_failed:
            yield f"RETRY {count(counts.failed, 'failed task')}, with retries counted from 0."
        else:
            yield "Failed tasks stay as they are (--retry-failed: retry them)."
        if params.retry_cancelled:
            yield f"RETRY {count(counts.cancelled, 'task')} that the emergency stop cancelled."
        else:
            yield "Cancelled tasks stay as they are (--retry-cancelled: retry what the stop cancelled)."
        if params.requeue_stalled:
            yield f"REQUEUE {count(counts.stalled, 'stalled claim')}; each counts as a retry."
        if params.resume_queues:
            yield f"RESUME {count(counts.queues, 'paused queue')}."
        paused = count(counts.workers, "paused worker")
        yield f"RESUME {paused}; drained ones are started with make up or manage.py runworker."
        frozen = current_freeze()
        if frozen is None:
            yield "Nothing is frozen."
        else:
            by = f"{frozen.frozen_by} at {written(frozen.frozen_at)}: {frozen.reason}"
            yield f"THAW, and tasks are claimed at once. Frozen by {by}"
