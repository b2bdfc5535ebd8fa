"""What the threads of one worker share: its attempts, and whether it goes on."""

from __future__ import annotations

import threading

from tasks_app.models import WorkerOrder
from workers.execution import Execution
from workers.options import Options
from workers.recycling import Recycling
from workers.registration import Presence
from workers.root_watch import RootWatch
from workers.stop_signals import StopOrders


class SharedState:
    """Read by every thread; each field has one thread that writes it."""

    def __init__(self, options: Options, presence: Presence) -> None:
        self.options = options
        self.presence = presence
        self.orders = StopOrders()
        self.recycling = Recycling(options)
        self.roots = RootWatch()
        self.claimed_count = 0
        self.exhausted = False
        """Whether a burst has found nothing left to do."""
        self.claims_ended = False
        """Whether the thread that claims has seen that the worker drains."""
        self.disk_is_low = False
        self._lock = threading.Lock()
        self.attempts: tuple[Execution, ...] = ()
        """Those claimed and not yet let go of; the tuple is replaced, never changed."""

    def add(self, execution: Execution) -> None:
        """Take in a claimed attempt."""
        with self._lock:
            self.attempts = (*self.attempts, execution)

    def remove(self, execution: Execution) -> None:
        """Let go of an attempt."""
        with self._lock:
            self.attempts = tuple(each for each in self.attempts if each is not execution)

    @property
    def undelivered(self) -> list[Execution]:
        """The attempts that occupy slots."""
        return [execution for execution in self.attempts if not execution.delivered]

    @property
    def running(self) -> list[Execution]:
        """The attempts that have been started and whose end is not known yet."""
        return [execution for execution in self.attempts if execution.running]

    @property
    def ending(self) -> bool:
        """Whether it ends after what it runs, come what may."""
        most = self.options.max_tasks
        enough = most is not None and self.claimed_count >= most
        return self.orders.drain or self.exhausted or enough or bool(self.recycling.because)

    @property
    def draining(self) -> bool:
        """Whether it claims nothing more and ends; an operator may still take back the order to do so."""
        return self.ending or self.presence.ordered == WorkerOrder.DRAIN
