"""The last look at a queue's health, shared by all who ask."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tasks_app.monitoring.health.checks import Health

logger = logging.getLogger(__name__)

INTERVAL_SEC = 1.0
IDLE_SEC = 30.0
"""A thread that nobody has asked for so long ends."""


class Latest:
    """Looks once a second in one background thread while somebody asks; every asker gets the last result at once.

    Only who asks after a pause, or while a look takes long, waits for it.
    """

    def __init__(self, look: Callable[[], Health], overdue: Callable[[float], Health]) -> None:
        self._look = look
        self._overdue = overdue
        self._changed = threading.Condition()
        self._result: Health | None = None
        self._asked_at = self._looked_at = 0.0
        self._running = False

    def get(self, *, wait_sec: float) -> Health:
        """Return a result no older than `wait_sec`, or what `overdue` makes of the seconds waited for one."""
        with self._changed:
            self._asked_at = time.monotonic()
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="health", daemon=True).start()
            if not self._changed.wait_for(lambda: self._is_recent(wait_sec), wait_sec) or self._result is None:
                return self._overdue(wait_sec)
            return self._result

    def forget(self) -> None:
        """Have the next asker wait for a new look."""
        with self._changed:
            self._result = None

    def _is_recent(self, most_sec: float) -> bool:
        return self._result is not None and time.monotonic() - self._looked_at <= most_sec

    def _run(self) -> None:
        while True:
            started = time.monotonic()
            try:
                result = self._look()
            except Exception:  # the thread must outlive any fault of a check; askers get the overdue answer meanwhile
                logger.exception("the look at health failed")
                result = None
            with self._changed:
                self._result, self._looked_at = result, time.monotonic()
                self._changed.notify_all()
                idle = self._looked_at - self._asked_at > IDLE_SEC
                if idle:
                    self._running, self._result = False, None
                    return
            time.sleep(max(0.0, started + INTERVAL_SEC - time.monotonic()))
