"""One claimed task, from its claim until its outcome is delivered, whichever way it is run."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

from django.conf import settings

from tasks_app import cleaning, tracing
from tasks_app.engine.claim import Claim
from tasks_app.engine.fail import AttemptReport
from tasks_app.monitoring.usage import Used
from workers.process import publication
from workers.process.outcome import FailureClass, Outcome, Stop
from workers.process.protocol import Progress

logger = logging.getLogger(__name__)


class Execution(ABC):
    """An attempt.

    The worker's main thread listens, checks limits and judges; the dispatcher starts and delivers; any thread may
    request a stop.
    """

    log_path: Path | None = None

    def __init__(self, claim: Claim, *, root: Path) -> None:
        self.claim = claim
        self._lock = threading.RLock()
        """Held while it changes whether it runs, is being stopped or has ended; never while waiting for anything."""
        self.places = publication.places_of(claim, root)
        self.span = _span_of(claim)
        self.stop_requested: Stop | None = None
        self.stop_grace_sec = 0.0
        self._stop_requested_at = 0.0
        self.stop_reported = False
        """Whether the stop is in the database."""
        self.held_reported = False
        """Whether it is in the database that the kernel does not let it end."""
        self.outcome: Outcome | None = None
        self._progress: Progress | None = None
        self.delivered = False
        """Whether nothing is left to do but to release it."""
        self.delivery_tries = 0
        self.delivery_disconnects = 0
        self.delivery_refusals = 0
        self.start_refusals = 0
        self.report_refused = False
        """Whether the measurements of the attempt are left out of what is stored."""

    @property
    def named(self) -> str:
        """What every log line about this attempt carries, to be searched for."""
        claim = self.claim
        run = f" run={claim.run_id}" if claim.run_id else ""
        return f"task={claim.task_id} attempt={claim.attempt} name={claim.task_name}{run}"

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it has been started and its end is not known yet."""

    @abstractmethod
    def start(self, handler: str) -> list[int]:
        """Start it; return the descriptors to listen to. Raises OSError."""

    def listen(self) -> list[int]:
        """Read its messages; return the descriptors that have come to their end and are to be forgotten."""
        return []

    def request_stop(self, stop: Stop, *, grace_sec: float) -> bool:
        """Store why and when the stop was requested; return False when it is being stopped already."""
        with self._lock:
            if self.stop_requested is not None:
                return False
            self._stop_requested_at, self.stop_grace_sec = time.monotonic(), grace_sec
            self.stop_requested = stop
            return True

    @property
    def stop_ago_sec(self) -> float:
        """Seconds since the stop was requested."""
        return time.monotonic() - self._stop_requested_at

    def stop(self, stop: Stop, *, grace_sec: float | None = None) -> None:
        """Stop the attempt, by default with the grace of the settings. The first reason given counts."""
        grace_sec = settings.ABSURD_STOP_GRACE_SEC if grace_sec is None else grace_sec
        with self._lock:
            if not self.request_stop(stop, grace_sec=grace_sec):
                return
            self._begin_stop(grace_sec)
        logger.info("stopping attempt %s as=%s: %s", self.named, stop.failure_class, stop.message)

    @abstractmethod
    def _begin_stop(self, grace_sec: float) -> None: ...

    @abstractmethod
    def kill(self, stop: Stop | None = None) -> None:
        """End it at once."""

    def check_timeout(self, ran_sec: float) -> None:
        """Stop the attempt when it has run for too long."""
        if ran_sec > self.claim.timeout_sec:
            message = f"ran for {ran_sec:.0f} s, longer than its timeout of {self.claim.timeout_sec} s"
            self.stop(Stop(failure_class="timeout", message=message))

    @abstractmethod
    def check_limits(self) -> None:
        """Stop the attempt when it has run or grown beyond what it may."""

    def worker_is_stopping(self) -> None:  # noqa: B027 - nothing to do for most
        """Take into account that the worker has received a stop signal."""

    def check_log(self) -> None:  # noqa: B027 - nothing to do without a log
        """See whether its log has grown; may wait for the file system."""

    def set_progress(self, progress: Progress) -> None:
        """Keep what it has reported, until it is stored or replaced by newer progress."""
        with self._lock:
            self._progress = progress

    def take_progress(self) -> Progress | None:
        """Return the progress reported since the last call."""
        with self._lock:
            progress, self._progress = self._progress, None
            return progress

    def restore_progress(self, progress: Progress) -> None:
        """Keep what could not be stored, unless there is newer progress."""
        with self._lock:
            self._progress = self._progress or progress

    def abandon(self, error: Exception) -> None:
        """End an attempt that the worker cannot supervise any more."""
        message = f"the worker could not supervise this attempt any more: {cleaning.words(error)}"
        with contextlib.suppress(Exception):
            self.kill(Stop(failure_class="error", message=message))
        with self._lock:
            self.outcome = self.outcome or Outcome(failure_class="error", message=message)

    def survivors(self) -> list[str]:
        """Return its processes that still live, a line each, where it has any."""
        return []

    def used(self) -> Used | None:
        """Return what it has used so far, where that can be measured."""
        return None

    @abstractmethod
    def report(self) -> AttemptReport:
        """Return what is kept of the attempt."""

    def settle(self) -> None:
        """Note that nothing is left to do but to release it."""
        self.delivered = True
        failure_class = self.outcome.failure_class if self.outcome else None
        self.span.end("" if failure_class == "no_work" else failure_class or "")

    def close(self) -> None:  # noqa: B027 - nothing to do without a process
        """Release what it holds."""

    def end_unstarted(self, message: str, failure_class: FailureClass) -> None:
        """End an attempt that was not or could not be started."""
        self.outcome = Outcome(failure_class=failure_class, message=message)


def _span_of(claim: Claim) -> tracing.Work:
    """Begin the span of an attempt, and record how long its task has waited."""
    ids = {"task_id": claim.task_id, "attempt": claim.attempt, "task_name": claim.task_name, "run_id": claim.run_id}
    attributes = {f"absurd.{name}": str(value) for name, value in ids.items() if value is not None}
    if claim.runnable_at is not None and claim.claimed_at is not None:
        waited = {"started_at": claim.runnable_at, "ended_at": claim.claimed_at}
        tracing.record("wait", parent=claim.traceparent, attributes=attributes, **waited)
    return tracing.Work(f"attempt {claim.task_name}", "consumer", parent=claim.traceparent, attributes=attributes)
