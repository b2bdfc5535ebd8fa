"""The threads of a worker: each repeats its own turn, and no exception ends it."""

from __future__ import annotations

import selectors
import threading
from abc import ABC, abstractmethod

from django.db import connections

from workers.faults import Faults
from workers.wakeup import Wakeup

AFTER_FAULT_SEC = 1.0


class WorkerThread(threading.Thread, ABC):
    """Repeats `turn` until it is ended, waiting in between for `wait_sec` or until it is woken."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.faults = Faults()
        self.selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self.selector.register(self._wakeup.fd, selectors.EVENT_READ, self._wakeup.clear)
        self._ending = threading.Event()

    @abstractmethod
    def turn(self) -> None:
        """Do all that is due."""

    @abstractmethod
    def wait_sec(self) -> float:
        """Return in how many seconds something is due."""

    def finish(self) -> None:
        """Do the last things, after the last turn."""

    def wake(self) -> None:
        """Have the next turn begin now."""
        self._wakeup.set()

    def end(self) -> None:
        """Ask the thread to end after the turn that it is in."""
        self._ending.set()
        self.wake()

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                self._once()
            self._guarded(self.finish)
        finally:
            connections.close_all()

    def _once(self) -> None:
        if not self._guarded(self._wait_and_turn):
            self._ending.wait(AFTER_FAULT_SEC)

    def _wait_and_turn(self) -> None:
        for key, _ in self.selector.select(self.wait_sec()):
            key.data()
        self.turn()

    def _guarded(self, work: object) -> bool:
        try:
            work()  # type: ignore[operator]
        except Exception as error:
            self.faults.note(f"a turn of the thread {self.name}", error)
            return False
        return True
