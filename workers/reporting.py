"""Store what is new of running attempts: progress, that they are being stopped or held by the kernel, what they use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from django.db import Error

from tasks_app.engine.lease import note_held, note_stop, report_progress
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.monitoring import usage
from tasks_app.postgresql import outages
from workers.execution import Execution
from workers.process.outcome import LOST
from workers.worker_thread import FaultLog, Timer

USAGE_SEC = 5.0
SLOT_FREE_AFTER_SEC = 2.0
"""This long after the grace the slot is free, unless the kernel holds a process that was killed."""
SURVIVORS_MOST = 3

logger = logging.getLogger(__name__)


def for_each(faults: FaultLog, step: str, executions: Iterable[Execution], work: Callable[[Execution], None]) -> None:
    """Do a step for each attempt by itself; one whose claim is lost is ended. Raises an outage."""
    for execution in executions:
        try:
            work(execution)
        except (LostClaim, TaskNotFound):
            execution.kill(LOST)
        except Exception as error:
            if outages.is_outage(error):
                raise
            faults.record(f"{step} of {execution.named}", error)


class Reporter:
    """Remembers when the use of resources is to be stored again."""

    def __init__(self, faults: FaultLog) -> None:
        self._faults = faults
        self._usage = Timer(USAGE_SEC)

    def store(self, running: list[Execution]) -> None:
        """Store what is new of the attempts that run. Raises an outage."""
        for_each(self._faults, "storing progress", running, _store_progress)
        for_each(self._faults, "storing the stop", running, _store_stop)
        if self._usage.due():
            usage.store([used for execution in running if (used := execution.used()) is not None])


def _store_progress(execution: Execution) -> None:
    progress = execution.take_progress()
    if progress is None:
        return
    try:
        report_progress(execution.claim, fraction=progress.fraction, message=progress.message, metrics=progress.metrics)
    except Error:
        execution.restore_progress(progress)
        raise


def _store_stop(execution: Execution) -> None:
    """Store that it is being stopped, and later that the kernel holds it although it should have ended by now."""
    stop = execution.stop_requested
    if stop is None or not execution.running:
        return
    takes_sec = execution.stop_grace_sec + SLOT_FREE_AFTER_SEC
    try:
        if not execution.stop_reported:
            note_stop(
                execution.claim,
                failure_class=stop.failure_class,
                reason=stop.message,
                asked_ago_sec=execution.stop_ago_sec,
                takes_sec=takes_sec,
            )
            execution.stop_reported = True
        elif execution.stop_ago_sec > takes_sec and not execution.held_reported and (alive := execution.survivors()):
            processes = "; ".join(alive[:SURVIVORS_MOST])
            logger.warning("killed processes of %s do not end: %s", execution.named, processes)
            note_held(execution.claim, processes)
            execution.held_reported = True
    except (LostClaim, TaskNotFound):
        execution.stop_reported = execution.held_reported = True
        raise
