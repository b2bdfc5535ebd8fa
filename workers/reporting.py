"""What the database is told of running attempts beside progress: that they are being stopped or held, what they use."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tasks_app.engine import worker_calls
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.monitoring import usage
from tasks_app.postgresql import outages
from workers.execution import Execution
from workers.faults import Faults
from workers.outcome import LOST
from workers.timer import Timer

USAGE_SEC = 5.0
SLOT_FREE_AFTER_SEC = 2.0
"""So long after the grace the slot is free, unless the kernel holds a process that was killed."""
SURVIVORS_MOST = 3

logger = logging.getLogger(__name__)


class Reporter:
    """Remembers when the use of resources is to be stored again."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._usage = Timer(USAGE_SEC)

    def tell(self, executions: Iterable[Execution]) -> None:
        """Store what is new of the attempts that run. Raises what an outage raises."""
        running = [execution for execution in executions if execution.running]
        for execution in running:
            try:
                _tell(execution)
            except Exception as error:
                if outages.is_outage(error):
                    raise
                self._faults.note(f"reporting the stop of {execution.named}", error)
        if self._usage.due():
            usage.store([used for execution in running if (used := execution.used()) is not None])


def _tell(execution: Execution) -> None:
    if execution.stop_asked is not None and not execution.stop_told:
        _tell_stop(execution)
    elif _is_held(execution):
        _tell_held(execution)


def _is_held(execution: Execution) -> bool:
    """Whether it lives on although it should have been killed by now."""
    overdue = execution.stop_ago_sec > execution.stop_grace_sec + SLOT_FREE_AFTER_SEC
    return execution.stop_told and not execution.held_told and overdue


def _tell_held(execution: Execution) -> None:
    survivors = execution.survivors()
    if not survivors:
        return
    processes = "; ".join(survivors[:SURVIVORS_MOST])
    logger.warning("the kernel holds processes of %s: %s", execution.named, processes)
    try:
        worker_calls.note_held(execution.claim, processes)
    except (LostClaim, TaskNotFound):
        execution.kill(LOST)
    execution.held_told = True


def _tell_stop(execution: Execution) -> None:
    stop = execution.stop_asked
    if stop is None:
        return
    try:
        worker_calls.note_stop(
            execution.claim,
            failure_class=stop.failure_class,
            reason=stop.message,
            asked_ago_sec=execution.stop_ago_sec,
            takes_sec=execution.stop_grace_sec + SLOT_FREE_AFTER_SEC,
        )
    except (LostClaim, TaskNotFound):
        execution.kill(LOST)
    execution.stop_told = True
