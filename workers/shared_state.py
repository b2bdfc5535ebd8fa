"""What the threads of one worker share: its attempts, how they wake each other, and whether it continues."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

from django.conf import settings

from tasks_app.models import WorkerOrder
from workers.allocation import TimeLimit
from workers.execution import Execution
from workers.file_system import DataRootWatch
from workers.options import Options
from workers.process import confine
from workers.registration import Registration
from workers.service_manager import Notifier, StopSignals
from workers.worker_thread import Timer, Wakeup


class SharedState:
    """Read by every thread; each field has one thread that writes it. Attempts work below `root`."""

    def __init__(self, options: Options, root: Path) -> None:
        self.options, self.root = options, root
        self.confined = options.confine and confine.abi() > 0
        self.time_limit = TimeLimit(options.time_limit_sec, drain_timeout_sec=options.drain_timeout_sec)
        self.registration = Registration(options, root, drains_at=self.time_limit.drains_at)
        self.signals = StopSignals()
        self.notifier = Notifier()
        self.roots = DataRootWatch()
        self.supervisor, self.dispatcher, self.leases = Wakeup(), Wakeup(), Wakeup()
        """Each wakes the thread of that name; the supervisor is the main thread."""
        self.heartbeats = Timer(settings.ABSURD_HEARTBEAT_SEC)
        self.renewals = Timer(settings.ABSURD_LEASE_SEC / 3)
        self.attempts: tuple[Execution, ...] = ()
        """Those claimed and not yet released; the tuple is replaced, never changed."""
        self.started: deque[tuple[Execution, list[int]]] = deque()
        """Those that the supervisor is to listen to, with their descriptors."""
        self.claimed_count = 0
        self.exhausted = False
        """Whether a burst has found nothing left to do."""
        self.claims_ended = False
        """Whether the dispatcher has seen that the worker drains."""
        self.disk_is_low = False
        self.recycle_reason = ""
        """Why it finishes what it runs and becomes a fresh process; empty: it does not."""
        self._started_at = time.monotonic()
        self._lock = threading.Lock()

    def changed(self) -> None:
        """Let the supervisor and the dispatcher act on a change."""
        self.supervisor.set()
        self.dispatcher.set()

    def report_soon(self) -> None:
        """Store a change in the worker's row at once."""
        self.heartbeats.hurry()
        self.leases.set()

    def add(self, execution: Execution) -> None:
        with self._lock:
            self.attempts = (*self.attempts, execution)

    def remove(self, execution: Execution) -> None:
        with self._lock:
            self.attempts = tuple(each for each in self.attempts if each is not execution)

    @property
    def undelivered(self) -> list[Execution]:
        return [execution for execution in self.attempts if not execution.delivered]

    @property
    def running(self) -> list[Execution]:
        """The attempts that have been started and whose end is not known yet."""
        return [execution for execution in self.attempts if execution.running]

    @property
    def unstarted(self) -> list[Execution]:
        """The attempts that are claimed and still have to be started."""
        return [execution for execution in self.undelivered if not execution.running and execution.outcome is None]

    def recycle(self, reason: str) -> None:
        """Let the worker end for this reason and become a fresh process, unless there is a reason already."""
        self.recycle_reason = self.recycle_reason or reason

    def check_age(self) -> None:
        """Recycle when the worker is older or larger than its options allow."""
        age_sec, most_sec = time.monotonic() - self._started_at, self.options.max_age_sec
        if most_sec is not None and age_sec > most_sec:
            self.recycle(f"it has run for {age_sec:.0f} s, longer than --max-age {most_sec:g}")
        rss_gb, most_gb = self.registration.rss_bytes / 1e9, self.options.max_rss_gb
        if most_gb is not None and rss_gb > most_gb:
            self.recycle(f"it uses {rss_gb:.2f} GB, more than --max-rss-gb {most_gb:g}")

    @property
    def ending(self) -> bool:
        """Whether it ends after what it runs, and no operator can change that."""
        most = self.options.max_tasks
        enough = most is not None and self.claimed_count >= most
        return self.signals.drain or self.exhausted or enough or bool(self.recycle_reason)

    @property
    def draining(self) -> bool:
        """Whether it claims nothing more and ends; an operator may still resume a worker that was asked to drain."""
        return self.ending or self.registration.ordered == WorkerOrder.DRAIN
