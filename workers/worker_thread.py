"""What the threads of a worker are made of: each repeats its own turn, and no exception ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from django.db import connections

AFTER_FAULT_SEC = 1.0
FAULT_AGAIN_SEC = 60.0
"""The same fault is logged again no sooner."""

logger = logging.getLogger(__name__)


class Timer:
    """Comes due at once, and then again each time its interval has passed."""

    def __init__(self, interval_sec: float, *, jitter: float = 0.0) -> None:
        self.interval_sec = interval_sec
        self._jitter = jitter
        self._at = 0.0

    def due(self) -> bool:
        """Return whether it is time, and if so start the next interval."""
        now = time.monotonic()
        if now < self._at:
            return False
        spread = 1.0 + random.uniform(-self._jitter, self._jitter)  # noqa: S311 - jitter, not a secret
        self._at = now + self.interval_sec * spread
        return True

    def hurry(self, in_sec: float = 0.0) -> None:
        """Make it due after these seconds."""
        self._at = time.monotonic() + in_sec if in_sec else 0.0

    def at_most(self, interval_sec: float) -> None:
        """Shorten the interval if it is longer."""
        if interval_sec < self.interval_sec:
            self.interval_sec = interval_sec
            self._at = min(self._at, time.monotonic() + interval_sec)

    @property
    def wait_sec(self) -> float:
        return max(0.0, self._at - time.monotonic())


class Wakeup:
    """A descriptor by which one thread wakes the select of another: readable from `set` until `clear`."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """Wake the thread that selects on it; never waits."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)


class FaultLog:
    """Logs each unexpected exception with its traceback once, and then once a minute with how often it came."""

    def __init__(self) -> None:
        self._logged_at: dict[tuple[str, type[BaseException]], float] = {}
        self._unlogged: dict[tuple[str, type[BaseException]], int] = {}

    def record(self, step: str, error: BaseException) -> None:
        key, now = (step, type(error)), time.monotonic()
        if now - self._logged_at.get(key, float("-inf")) < FAULT_AGAIN_SEC:
            self._unlogged[key] = self._unlogged.get(key, 0) + 1
            return
        if len(self._logged_at) > 1000:
            self._logged_at.clear()
        self._logged_at[key] = now
        more = self._unlogged.pop(key, 0)
        repeated = f" (and {more} times more)" if more else ""
        logger.error("%s failed%s; the worker continues", step, repeated, exc_info=error)


class WorkerThread(threading.Thread, ABC):
    """Repeats `turn` until it is ended, waiting in between for `wait_sec` or until it is woken."""

    def __init__(self, name: str, wakeup: Wakeup) -> None:
        super().__init__(name=name, daemon=True)
        self.faults = FaultLog()
        self.selector = selectors.DefaultSelector()
        self._wakeup = wakeup
        self.selector.register(wakeup.fd, selectors.EVENT_READ, wakeup.clear)
        self._ending = threading.Event()

    @abstractmethod
    def turn(self) -> None:
        """Do all that is due."""

    @abstractmethod
    def wait_sec(self) -> float:
        """Return in how many seconds something is due."""

    def finish(self) -> None:
        """Do the last things, after the last turn."""

    def end(self) -> None:
        self._ending.set()
        self._wakeup.set()

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                if not self._guarded(self._wait_and_turn):
                    self._ending.wait(AFTER_FAULT_SEC)
            self._guarded(self.finish)
        finally:
            connections.close_all()

    def _wait_and_turn(self) -> None:
        for key, _ in self.selector.select(self.wait_sec()):
            key.data()
        self.turn()

    def _guarded(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:
            self.faults.record(f"a turn of the thread {self.name}", error)
            return False
        return True
