"""When something is to be done again."""

from __future__ import annotations

import random
import time


class Timer:
    """Comes due at once, and then again each time its interval has passed."""

    def __init__(self, interval_sec: float, *, jitter: float = 0.0) -> None:
        self._interval_sec = interval_sec
        self._jitter = jitter
        self._at = 0.0

    def due(self) -> bool:
        """Return whether it is time, and if so start the next interval."""
        now = time.monotonic()
        if now < self._at:
            return False
        spread = 1.0 + random.uniform(-self._jitter, self._jitter)  # noqa: S311 - jitter, not a secret
        self._at = now + self._interval_sec * spread
        return True

    @property
    def interval_sec(self) -> float:
        """How often it comes due."""
        return self._interval_sec

    def hurry(self) -> None:
        """Make it due now."""
        self._at = 0.0

    def due_in(self, seconds: float) -> None:
        """Make it due in so many seconds."""
        self._at = time.monotonic() + seconds

    def at_most(self, interval_sec: float) -> None:
        """Shorten the interval if it is longer."""
        if interval_sec < self._interval_sec:
            self._interval_sec = interval_sec
            self._at = min(self._at, time.monotonic() + interval_sec)

    @property
    def wait_sec(self) -> float:
        """Seconds until it is due."""
        return max(0.0, self._at - time.monotonic())
