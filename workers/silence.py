"""Has an attempt shown any sign of work lately? Progress, a longer log, or processor time count."""

from __future__ import annotations

import time
from pathlib import Path

CPU_STEP_SEC = 0.05
"""Less processor time than this between two looks is what waiting costs, not work."""


class Silence:
    """Remembers when the last sign of work was seen."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._last_sign_at = time.monotonic()
        self._log_bytes = -1
        self._cpu_sec = 0.0

    def broken(self) -> None:
        """Take note of a sign of work, such as a progress message."""
        self._last_sign_at = time.monotonic()

    def look(self, cpu_sec: float) -> float:
        """Return for how many seconds there was no sign, given the processor time used so far."""
        try:
            log_bytes = self._log.stat().st_size
        except OSError:
            log_bytes = self._log_bytes
        if log_bytes != self._log_bytes or cpu_sec - self._cpu_sec > CPU_STEP_SEC or cpu_sec < self._cpu_sec:
            self._log_bytes, self._cpu_sec = log_bytes, cpu_sec
            self.broken()
        return time.monotonic() - self._last_sign_at
