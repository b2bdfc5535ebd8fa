"""The worker itself: its main thread supervises attempts and waits for nothing but them.

What may have to wait for the database, the file system or a reader of the log has threads of its own: `leases` and
`bookkeeping` for the database, `file-system` for disks, one for the log.
"""

from __future__ import annotations

import functools
import logging
import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable

from django.conf import settings

from workers import db_connection, identity
from workers.bookkeeping import Bookkeeping
from workers.execution import Execution
from workers.faults import Faults
from workers.file_system_watch import FileSystemWatch
from workers.leases import Leases
from workers.options import Options
from workers.outcome import DRAINED
from workers.process import environment, publication
from workers.registration import Presence
from workers.shared_state import SharedState
from workers.systemd import Notifier
from workers.threads import Crew
from workers.timer import Timer
from workers.wakeup import Wakeup

LIMITS_SEC = 1.0
LAST_WORDS_SEC = 10.0
"""How long a worker that was told twice to stop tries to return its tasks."""
THREADS_END_SEC = 5.0
GUARDIANS_END_SEC = 2.0

logger = logging.getLogger(__name__)


class Loop:
    """Supervises, until it is told to stop or has nothing left to do."""

    def __init__(self, options: Options) -> None:
        self._options = options
        root = publication.choose_root(settings.ABSURD_DATA_ROOTS, settings.ABSURD_VAR)
        self._state = SharedState(options, Presence(identity.describe(options), root))
        self._faults = Faults()
        self._notifier = Notifier()
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._started: deque[tuple[Execution, list[int]]] = deque()
        self._ended: set[Execution] = set()
        self._guardians: list[subprocess.Popen[bytes]] = []
        self._limits = Timer(LIMITS_SEC)
        self._crew = Crew(options.concurrency)
        self._leases = Leases(self._state, self._notifier, on_change=self._wake)
        self._files = FileSystemWatch(self._state, root, on_news=self._leases.report_soon)
        self._bookkeeping = Bookkeeping(
            self._state,
            root,
            self._crew,
            on_start=self._note_start,
            on_change=self._wakeup.set,
            on_lease=self._leases.expect_lease,
        )
        self._threads = (self._leases, self._bookkeeping, self._files)

    def run(self) -> bool:
        """Work until the end; return whether a fresh process is to go on in this one's place.

        Raises ProgrammingError when the database does not fit this version.
        """
        state, options = self._state, self._options
        db_connection.use_single_connection()
        environment.make_shared(settings.ABSURD_VAR)
        state.orders.catch()
        self._selector.register(state.orders.reader, selectors.EVENT_READ, state.orders.drain_reader)
        self._selector.register(self._crew.fd, selectors.EVENT_READ, self._crew.collect)
        self._selector.register(self._wakeup.fd, selectors.EVENT_READ, self._wakeup.clear)
        confined = self._bookkeeping.confined
        logger.info(
            "worker %s starts: queues=%s concurrency=%d memory_gb=%.1f confined=%s pid=%d",
            options.worker_id,
            ",".join(options.queue_names),
            options.concurrency,
            options.memory_gb,
            "yes" if confined else "no",
            os.getpid(),
        )
        if options.confine and not confined:
            logger.warning("this kernel cannot confine attempts: that they wrote into an input shows only afterwards")
        state.roots.start()
        for thread in self._threads:
            thread.start()
        while not self._finished():
            self._turn()
        self._leave()
        if self._leases.refused is not None:
            raise self._leases.refused
        return bool(state.recycling.because) and not state.orders.drain

    def _finished(self) -> bool:
        state = self._state
        if self._leases.refused is not None:
            return True
        if state.orders.at_once and state.orders.since_sec > LAST_WORDS_SEC:
            return True
        return state.draining and state.claims_ended and not state.attempts

    def _wake(self) -> None:
        """Have the supervising thread and the bookkeeping look at what has changed."""
        self._wakeup.set()
        self._bookkeeping.wake()

    def _note_start(self, execution: Execution, fds: list[int]) -> None:
        self._started.append((execution, fds))
        self._wakeup.set()

    def _turn(self) -> None:
        """Wait for something to happen, then do all that is due."""
        for key, _ in self._selector.select(self._wait_sec()):
            key.data()
        while self._started:
            execution, fds = self._started.popleft()
            for fd in fds if execution.outcome is None else ():
                self._selector.register(fd, selectors.EVENT_READ, functools.partial(self._listen, execution))
        self._supervise()
        self._hand_over()
        self._notifier.alive()
        self._guardians = [guardian for guardian in self._guardians if guardian.poll() is None]

    def _wait_sec(self) -> float:
        waits = [self._limits.wait_sec]
        if self._notifier.wait_sec is not None:
            waits.append(self._notifier.wait_sec)
        if self._state.orders.drain:
            waits.append(0.1)
        return min(waits)

    def _supervise(self) -> None:
        """Enforce what needs no database: limits, and the end of patience when told to stop."""
        orders = self._state.orders
        if self._limits.due():
            for execution in self._state.running:
                look = functools.partial(execution.check_limits, grace_sec=settings.ABSURD_STOP_GRACE_SEC)
                self._guarded(execution, look)
        if not orders.drain:
            return
        if news := orders.news():
            running = len(self._state.running)
            logger.info("worker %s is %s: %d attempts running", self._options.worker_id, news, running)
            self._notifier.stopping()
            self._leases.report_soon()
            self._bookkeeping.wake()
        for execution in self._state.attempts:
            self._guarded(execution, functools.partial(self._drain, execution))

    def _drain(self, execution: Execution) -> None:
        orders = self._state.orders
        if orders.at_once:
            execution.kill(DRAINED)
        elif orders.since_sec > self._options.drain_timeout_sec:
            execution.stop(DRAINED, grace_sec=settings.ABSURD_STOP_GRACE_SEC)
        execution.worker_stops()

    def _listen(self, execution: Execution) -> None:
        self._guarded(execution, functools.partial(self._take_in, execution))

    def _take_in(self, execution: Execution) -> None:
        for fd in execution.listen():
            if fd in self._selector.get_map():
                self._selector.unregister(fd)

    def _guarded(self, execution: Execution, work: Callable[[], None]) -> None:
        """Do something for one attempt; an exception ends this attempt and costs no other."""
        try:
            work()
        except Exception as error:
            self._faults.note(f"supervising {execution.named}", error)
            self._unregister(execution)
            execution.break_off(error)

    def _hand_over(self) -> None:
        """Have the bookkeeping deliver what has ended, and let go of what it has delivered."""
        for execution in self._state.attempts:
            if execution.delivered:
                self._guarded(execution, functools.partial(self._forget, execution))
                self._state.remove(execution)
                self._ended.discard(execution)
            elif execution.outcome is not None and execution not in self._ended:
                self._ended.add(execution)
                self._bookkeeping.wake()

    def _forget(self, execution: Execution) -> None:
        self._unregister(execution)
        guardian = execution.close()
        if guardian is not None:
            self._guardians.append(guardian)

    def _unregister(self, execution: Execution) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, functools.partial) and key.data.args == (execution,):
                self._selector.unregister(key.fileobj)

    def _leave(self) -> None:
        """Say goodbye; the guardians that still clear away are given a moment, and outlive this process if need be."""
        self._notifier.stopping()
        for execution in self._state.attempts:
            self._guarded(execution, functools.partial(self._forget, execution))
        for thread in self._threads:
            thread.end()
        deadline = time.monotonic() + THREADS_END_SEC
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        deadline = time.monotonic() + GUARDIANS_END_SEC
        while any(guardian.poll() is None for guardian in self._guardians) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._state.orders.release()
        because = self._state.recycling.because
        ending = f"starts anew, because {because}" if because else "stopped"
        logger.info("worker %s %s after %d tasks", self._options.worker_id, ending, self._state.claimed_count)
