"""Progress reports held to a pace: a handler may report in its innermost loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

EVERY_SEC = 0.2

Report = tuple[float | None, str, Mapping[str, float]]


class Pace:
    """Passes a report on at once, or, when the last one is too recent, the newest of them a little later."""

    def __init__(self, pass_on: Callable[[float | None, str, Mapping[str, float]], None]) -> None:
        self._pass_on = pass_on
        self._lock = threading.Lock()
        self._waiting: Report | None = None
        self._timer: threading.Timer | None = None
        self._next_at = 0.0

    def report(self, fraction: float | None, message: str, metrics: Mapping[str, float]) -> None:
        """Take a report."""
        with self._lock:
            self._waiting = (fraction, message, metrics)
            wait_sec = self._next_at - time.monotonic()
            if wait_sec <= 0:
                self._tell()
            elif self._timer is None:
                self._timer = threading.Timer(wait_sec, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Pass on what is waiting."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._tell()

    def _tell(self) -> None:
        report, self._waiting = self._waiting, None
        if report is not None:
            self._next_at = time.monotonic() + EVERY_SEC
            self._pass_on(*report)
