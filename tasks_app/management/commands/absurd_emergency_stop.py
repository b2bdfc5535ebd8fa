"""`manage.py absurd_emergency_stop`: stop everything, in one confirmed and recorded step."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from tasks_app.formats import count, moment
from tasks_app.management.operations import EmergencyCommand
from tasks_app.operations.emergency import StopCounts, StopParams, emergency_stop
from tasks_app.operations.system import current_freeze

WORD = "STOP"


class Command(EmergencyCommand):
    operation = emergency_stop
    heading = "EMERGENCY STOP of all queues"

    def typed(self, affected: int) -> str:
        return WORD

    def plan(self, params: StopParams, counts: StopCounts) -> Iterator[str]:
        frozen = current_freeze()
        if frozen is None:
            yield "FREEZE: from now on no task of any queue starts; new tasks are stored and stay pending."
        else:
            yield f"Frozen already, by {frozen.frozen_by} since {moment(frozen.frozen_at)}: {frozen.reason}"
        running, grace_sec = count(counts.running, "running task"), settings.ABSURD_STOP_GRACE_SEC
        if params.stop_running:
            yield f"STOP {running}: processes are ended within about {grace_sec:g} s, the tasks become cancelled."
        else:
            yield f"LET {running} finish (--stop-running: end them now)."
        pending = count(counts.pending, "pending task")
        if params.cancel_pending:
            yield f"CANCEL {pending}."
        else:
            yield f"KEEP {pending}, waiting (--cancel-pending: cancel them)."
        workers = count(counts.workers, "worker")
        if params.drain_workers:
            yield f"DRAIN {workers}: each ends after what it runs; start them with make up or manage.py runworker."
        else:
            yield f"LEAVE {workers} running without claims (--drain-workers: drain them)."
