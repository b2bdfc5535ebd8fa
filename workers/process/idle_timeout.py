"""Has an attempt shown any sign of work lately? Progress, a longer log, or processor time count."""

from __future__ import annotations

import time
from pathlib import Path

CPU_STEP_SEC = 0.05
"""Less processor time than this between two checks is what waiting costs, not work."""
CHECK_VALID_SEC = 10.0
"""A log that could not be checked for longer, because its file system hangs, shows nothing about the attempt."""


class IdleClock:
    """Remembers when the last sign of work was seen."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._last_sign_at = self._log_checked_at = time.monotonic()
        self._log_bytes = -1
        self._cpu_sec = 0.0

    def reset(self) -> None:
        """Count from now, because of a sign of work such as a progress message."""
        self._last_sign_at = time.monotonic()

    def check_log(self) -> None:
        """See whether the log has grown; for a thread that may wait for the file system."""
        try:
            log_bytes = self._log.stat().st_size
        except OSError:
            log_bytes = self._log_bytes
        if log_bytes != self._log_bytes:
            self._log_bytes = log_bytes
            self.reset()
        self._log_checked_at = time.monotonic()

    def idle_sec(self, cpu_sec: float) -> float:
        """Return for how many seconds there was no sign, given the processor time used so far.

        While the log cannot be checked, the seconds do not count.
        """
        now = time.monotonic()
        if cpu_sec - self._cpu_sec > CPU_STEP_SEC or cpu_sec < self._cpu_sec:
            self._cpu_sec = cpu_sec
            self.reset()
        elif now - self._log_checked_at > CHECK_VALID_SEC:
            self.reset()
        return now - self._last_sign_at
