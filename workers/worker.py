"""The worker itself: its main thread supervises attempts and waits for nothing but them.

What may have to wait for the database, the file system or a reader of the log has threads of its own: `leases` and
`dispatcher` for the database, `file-system` and `data-roots` for disks, one for the log.
"""

from __future__ import annotations

import functools
import logging
import os
import selectors
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from django.conf import settings

from tasks_app import tracing
from workers import db_connection, file_server
from workers.dispatcher import Dispatcher
from workers.execution import Execution
from workers.file_system import FileSystemThread
from workers.lease_thread import LeaseThread
from workers.options import Options
from workers.process import environment, handle, publication
from workers.process.outcome import DRAINED
from workers.shared_state import SharedState
from workers.threads import ThreadPool
from workers.worker_thread import FaultLog, Timer

LIMITS_SEC = 1.0
STOP_AT_ONCE_SEC = 10.0
"""How long a worker that is to stop at once tries to return its tasks."""
THREADS_END_SEC = 5.0
GUARDIANS_END_SEC = 2.0

logger = logging.getLogger(__name__)


class WorkerLoop:
    """Supervises attempts until it is asked to stop or has nothing left to do."""

    def __init__(self, options: Options) -> None:
        self._state = SharedState(options, publication.choose_root())
        self._faults = FaultLog()
        self._selector = selectors.DefaultSelector()
        self._ended: set[Execution] = set()
        self._limits = Timer(LIMITS_SEC)
        self._pool = ThreadPool(options.concurrency)
        self._leases = LeaseThread(self._state)
        self._threads = (self._leases, Dispatcher(self._state, self._pool), FileSystemThread(self._state))

    def run(self) -> bool:
        """Work until the end; return whether a fresh process is to continue in this one's place.

        Raises ProgrammingError when the database does not fit this version.
        """
        state = self._state
        db_connection.use_single_connection()
        environment.make_shared(settings.ABSURD_VAR)
        state.signals.catch()
        self._selector.register(state.signals.reader, selectors.EVENT_READ, state.signals.drain_reader)
        self._selector.register(self._pool.fd, selectors.EVENT_READ, self._pool.collect)
        self._selector.register(state.supervisor.fd, selectors.EVENT_READ, state.supervisor.clear)
        self._log_start()
        tracing.begin("absurd-worker")
        state.roots.start()
        file_server.start(self._serves_files)
        for thread in self._threads:
            thread.start()
        while not self._finished():
            self._turn()
        self._leave()
        if self._leases.refused is not None:
            raise self._leases.refused
        return bool(state.recycle_reason) and not state.signals.drain

    def _serves_files(self, address: str) -> None:
        self._state.registration.worker.files_address = address
        self._state.report_soon()

    def _log_start(self) -> None:
        options, confined = self._state.options, self._state.confined
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
            logger.warning(
                "this kernel cannot confine attempts: writes into an input are detected only after the attempt"
            )

    def _finished(self) -> bool:
        state = self._state
        if self._leases.refused is not None:
            return True
        if state.signals.at_once and state.signals.since_sec > STOP_AT_ONCE_SEC:
            return True
        return state.draining and state.claims_ended and not state.attempts

    def _turn(self) -> None:
        """Wait for something to happen, then do all that is due."""
        for key, _ in self._selector.select(self._wait_sec()):
            key.data()
        while self._state.started:
            execution, fds = self._state.started.popleft()
            for fd in fds if execution.outcome is None else ():
                self._selector.register(fd, selectors.EVENT_READ, functools.partial(self._listen, execution))
        self._supervise()
        self._hand_over()
        self._state.notifier.alive()
        handle.reap()

    def _wait_sec(self) -> float:
        waits = [self._limits.wait_sec]
        if (watchdog_sec := self._state.notifier.wait_sec) is not None:
            waits.append(watchdog_sec)
        if self._state.signals.drain:
            waits.append(0.1)
        return min(waits)

    def _supervise(self) -> None:
        """Enforce what needs no database: limits, and the drain timeout after a stop signal."""
        signals = self._state.signals
        if self._limits.due():
            for execution in self._state.running:
                self._guarded(execution, lambda each: each.check_limits())
            if not signals.drain and not self._state.time_limit.left_sec:
                logger.info("worker %s: the time of its allocation is over", self._state.options.worker_id)
                signals.request()
        if not signals.drain:
            return
        if request := signals.unlogged():
            running = len(self._state.running)
            logger.info("worker %s is %s: %d attempts running", self._state.options.worker_id, request, running)
            self._state.notifier.stopping()
            self._state.report_soon()
            self._state.dispatcher.set()
        for execution in self._state.attempts:
            self._guarded(execution, self._drain)

    def _drain(self, execution: Execution) -> None:
        signals = self._state.signals
        if signals.at_once:
            execution.kill(DRAINED)
        elif signals.since_sec > self._state.options.drain_timeout_sec:
            execution.stop(DRAINED)
        execution.worker_is_stopping()

    def _listen(self, execution: Execution) -> None:
        self._guarded(execution, self._read)

    def _read(self, execution: Execution) -> None:
        for fd in execution.listen():
            if fd in self._selector.get_map():
                self._selector.unregister(fd)

    def _guarded(self, execution: Execution, work: Callable[[Execution], None]) -> None:
        """Do something for one attempt; an exception ends this attempt and costs no other."""
        try:
            work(execution)
        except Exception as error:
            self._faults.record(f"supervising {execution.named}", error)
            self._unregister(execution)
            execution.abandon(error)

    def _hand_over(self) -> None:
        """Wake the dispatcher for what has ended, and release what it has delivered."""
        for execution in self._state.attempts:
            if execution.delivered:
                self._guarded(execution, self._close)
                self._state.remove(execution)
                self._ended.discard(execution)
            elif execution.outcome is not None and execution not in self._ended:
                self._ended.add(execution)
                self._state.dispatcher.set()

    def _close(self, execution: Execution) -> None:
        self._unregister(execution)
        execution.close()

    def _unregister(self, execution: Execution) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, functools.partial) and key.data.args == (execution,):
                self._selector.unregister(key.fileobj)

    def _leave(self) -> None:
        """End the threads, and wait a moment for guardians that still clean up; they may outlive this process."""
        self._state.notifier.stopping()
        for execution in self._state.attempts:
            self._guarded(execution, self._close)
        for thread in self._threads:
            thread.end()
        deadline = time.monotonic() + THREADS_END_SEC
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        handle.reap(GUARDIANS_END_SEC)
        self._state.signals.release()
        reason = self._state.recycle_reason
        ending = f"is replaced by a fresh process, because {reason}" if reason else "stopped"
        logger.info("worker %s %s after %d tasks", self._state.options.worker_id, ending, self._state.claimed_count)


def replace_process() -> NoReturn:
    """Replace this process by a fresh one with the same command line, pid and supervisor."""
    sys.stdout.flush()
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line
