"""Checks in threads of their own: work that may hang does not block the caller, and many callers share one result."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connections

from tasks_app.files.bounded_calls import in_daemon_thread
from tasks_app.monitoring.health.checks import Health

T = TypeVar("T")

logger = logging.getLogger(__name__)

INTERVAL_SEC = 1.0
IDLE_SEC = 30.0
"""The thread ends after this time without a call."""


class Bounded:
    """Runs work in threads of its own. A thread that hangs is abandoned; at most `limit` of them may be."""

    def __init__(self, name: str, *, limit: int = 4) -> None:
        self._name = name
        self._free = threading.BoundedSemaphore(limit)

    def start(self, work: Callable[[], T], deadline: float) -> Future[T]:
        """Start the work; the future raises TimeoutError when by the deadline all threads still hang."""
        if self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return in_daemon_thread(work, self._end, f"health-{self._name}")
        future: Future[T] = Future()
        future.set_exception(TimeoutError(f"earlier checks of {self._name} still hang"))
        return future

    def _end(self) -> None:
        connections.close_all()
        self._free.release()


def wait(future: Future[T], deadline: float) -> T:
    """Return what the work returned. Raises what it raised, or TimeoutError when it hangs."""
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError as error:
        raise TimeoutError(str(error) or "no answer in time") from None


class Latest:
    """Repeats the checks once a second in one background thread while there are calls; all get the last result.

    A caller only waits after a pause in the calls, or while the checks take long.
    """

    def __init__(self, examine: Callable[[], Health], overdue: Callable[[float], Health]) -> None:
        self._examine = examine
        self._overdue = overdue
        self._changed = threading.Condition()
        self._result: Health | None = None
        self._asked_at = self._ended_at = 0.0
        self._running = False
        self._thread: threading.Thread | None = None

    def get(self, *, wait_sec: float) -> Health:
        """Return a result no older than `wait_sec`, or what `overdue` returns for the seconds waited."""
        with self._changed:
            self._asked_at = time.monotonic()
            if not self._running:
                self._running = True
                self._thread = threading.Thread(target=self._run, name="health", daemon=True)
                self._thread.start()
            if not self._changed.wait_for(lambda: self._is_recent(wait_sec), wait_sec) or self._result is None:
                return self._overdue(wait_sec)
            return self._result

    def forget(self) -> None:
        """Make the next caller wait for new checks."""
        with self._changed:
            self._result = None

    def stop(self) -> None:
        """End the thread, once the checks that it is making have ended."""
        with self._changed:
            self._result, self._asked_at = None, -math.inf
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _is_recent(self, max_age_sec: float) -> bool:
        return self._result is not None and time.monotonic() - self._ended_at <= max_age_sec

    def _run(self) -> None:
        while True:
            started = time.monotonic()
            try:
                result = self._examine()
            except Exception:  # the thread must survive any fault of a check; callers get the overdue answer meanwhile
                logger.exception("the health checks failed")
                result = None
            with self._changed:
                self._result, self._ended_at = result, time.monotonic()
                self._changed.notify_all()
                pause_sec = max(0.0, started + INTERVAL_SEC - time.monotonic())
                self._changed.wait_for(self._is_idle, pause_sec)
                if self._is_idle():
                    self._running, self._result, self._thread = False, None, None
                    return

    def _is_idle(self) -> bool:
        return time.monotonic() - self._asked_at > IDLE_SEC
