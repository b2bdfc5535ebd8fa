"""Attempts in threads of the worker itself: for short work in pure Python, which must end by itself.

A thread cannot be stopped from outside. One that runs too long is abandoned: its outcome is decided without it, what it
still writes is refused by the fence, and another thread takes its place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path
from queue import SimpleQueue

from django.conf import settings
from django.db import connections

from tasks_app.engine.call_handler import plain_result
from tasks_app.engine.claim import Claim
from tasks_app.engine.fail import AttemptReport
from tasks_app.engine.handler import DirectoryContext
from workers.execution import Execution
from workers.process import publication
from workers.process.outcome import Exit, Stop, judge
from workers.process.protocol import Progress, Reply, Result
from workers.process.run_handler import failure_of, product_notes, run_handler
from workers.worker_thread import Wakeup

logger = logging.getLogger(__name__)


class ThreadContext(DirectoryContext):
    """The context of an attempt in a thread; its directories are made when it first asks for one."""

    def __init__(self, execution: ThreadExecution) -> None:
        claim, places = execution.claim, execution.places
        self._scratch_dir = places.scratch_dir
        super().__init__(
            attempt_dir=places.attempt_dir,
            published_dir=places.published_dir,
            task_id=str(claim.task_id),
            attempt=claim.attempt,
            task_name=claim.task_name,
            data_roots=settings.ABSURD_DATA_ROOTS,
            cores=claim.cores,
            memory_gb=claim.memory_gb,
        )
        self._execution = execution

    @property
    def scratch_dir(self) -> Path:
        """A directory of the attempt's own, removed after it."""
        self._prepare()
        return self._scratch_dir

    @scratch_dir.setter
    def scratch_dir(self, path: Path) -> None:
        self._scratch_dir = path

    def output(self, name: str) -> Path:
        self._prepare()
        return super().output(name)

    def _prepare(self) -> None:
        publication.prepare(self._execution.claim, self._execution.places)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        self._execution.set_progress(Progress.of(fraction, message, metrics))


class ThreadPool:
    """The threads that run attempts; `fd` becomes readable when one of them has ended an attempt."""

    def __init__(self, size: int) -> None:
        self._waiting: SimpleQueue[ThreadExecution] = SimpleQueue()
        self._done: deque[tuple[ThreadExecution, Reply, float]] = deque()
        self._wakeup = Wakeup()
        self.fd = self._wakeup.fd
        self._size = size
        self._started = 0
        self._lock = threading.Lock()

    def submit(self, execution: ThreadExecution) -> None:
        if self._started < self._size:
            self.add_thread()
        self._waiting.put(execution)

    def add_thread(self) -> None:
        """Start one more thread, such as in the place of one that is stuck."""
        with self._lock:
            self._started += 1
            name = f"attempts-{self._started}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            execution = self._waiting.get()
            began = time.thread_time()
            try:
                reply: Reply = execution.run()
            except BaseException as error:
                reply = failure_of(error)
            self._done.append((execution, reply, time.thread_time() - began))
            self._wakeup.set()

    def collect(self) -> None:
        """Judge each attempt that has ended."""
        self._wakeup.clear()
        while self._done:
            execution, reply, cpu_sec = self._done.popleft()
            execution.conclude(reply, cpu_sec)


class ThreadExecution(Execution):
    """An attempt in a thread of the worker."""

    def __init__(self, claim: Claim, *, root: Path, pool: ThreadPool) -> None:
        super().__init__(claim, root=root)
        self._pool = pool
        self._handler = ""
        self._started_at = 0.0
        self._abandon_at: float | None = None
        self._cpu_sec: float | None = None

    @property
    def running(self) -> bool:
        return bool(self._handler) and self.outcome is None

    def start(self, handler: str) -> list[int]:
        with self._lock:
            self._started_at, self._handler = time.monotonic(), handler
        self._pool.submit(self)
        return []

    def run(self) -> Reply:
        """Call the handler; for the threads of the pool."""
        context = ThreadContext(self)

        def finish(outcome: object) -> Result:
            notes = product_notes(context) if context.products else ()
            return Result(result=plain_result(outcome), products=notes)

        try:
            return run_handler(self._handler, self.claim.params, context, finish, traceparent=self.span.traceparent)
        finally:
            for connection in connections.all(initialized_only=True):
                connection.close_if_unusable_or_obsolete()

    def conclude(self, reply: Reply, cpu_sec: float) -> None:
        """Judge how it ended, unless it has been abandoned."""
        with self._lock:
            abandoned = self.outcome is not None
            if not abandoned:
                self._cpu_sec = cpu_sec
                self.outcome = judge(reply=reply, exit=Exit(exit_code=0), stop=self.stop_requested)
        if abandoned:
            logger.warning("the thread of an abandoned attempt has ended %s", self.named)

    def _begin_stop(self, grace_sec: float) -> None:
        self._abandon_at = time.monotonic() + grace_sec

    def kill(self, stop: Stop | None = None) -> None:
        self.request_stop(stop or Stop(failure_class="lost", message="the attempt was ended"), grace_sec=0.0)
        if self.running:
            self._abandon()

    def _abandon(self) -> None:
        with self._lock:
            if self.outcome is not None:
                return
            self.outcome = judge(reply=None, exit=Exit(), stop=self.stop_requested)
        logger.warning("abandoning the thread of %s: threads cannot be stopped", self.named)
        self._pool.add_thread()

    def check_limits(self) -> None:
        self.check_timeout(time.monotonic() - self._started_at)
        if self._abandon_at is not None and time.monotonic() > self._abandon_at:
            self._abandon()

    def report(self) -> AttemptReport:
        traceback = self.outcome.traceback if self.outcome else ""
        return AttemptReport(traceback=traceback, exit_code=None, cpu_sec=self._cpu_sec, log_tail=traceback)
