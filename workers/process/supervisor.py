"""An attempt in a guarded process: start its guardian, listen to it and to the child, stop it, judge its end."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

from django.conf import settings

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.fail import AttemptReport
from tasks_app.monitoring.usage import Series, Used
from workers.execution import Execution
from workers.process import confine, environment, protocol, publication, resources
from workers.process.guardian import KILL_LIMIT_SEC, STOP_SIGNALS
from workers.process.handle import ChildHandle
from workers.process.outcome import DRAINED_TOGETHER, Exit, Memory, Stop, judge, signal_name
from workers.process.prewarmed import Kind, SparePool
from workers.process.protocol import Progress, Ready, Reply, Request, Started
from workers.process.resources import Usage

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


SPARE_STARTS_WITHIN_SEC = 10.0
"""A spare that has not started its attempt by then hangs; the attempt is started cold."""
GUARDIAN_ANSWERS_WITHIN_SEC = KILL_LIMIT_SEC + 5.0
"""A guardian that has not reported the end by then, after the grace, is stopped or hangs, and is killed itself."""
WORKER_STOPS_WITHIN_SEC = 3.0
"""A stop signal sent to all processes of a worker may reach the worker this much later than the child."""

logger = logging.getLogger(__name__)


class ProcessExecution(Execution):
    """An attempt in a guarded process of its own."""

    def __init__(
        self,
        claim: Claim,
        *,
        root: Path,
        host_memory_gb: float,
        spares: SparePool | None = None,
        confined: bool = False,
        other_roots: tuple[str, ...] = (),
    ) -> None:
        super().__init__(claim, root=root)
        self.ceiling_gb = resources.ceiling_gb(claim, host_memory_gb)
        self._log_path = self.log_path = publication.log_path_of(claim)
        self._idle = IdleClock(self._log_path)
        self._spares = spares
        self._confined = confined
        self._other_roots = other_roots
        self._handle: ChildHandle | None = None
        self._dead_spare: ChildHandle | None = None
        self._child_started = False
        self._reply: Reply | None = None
        self._exit: Exit | None = None
        self._usage = Usage()
        self._peak_rss_bytes = 0
        self._series = Series()
        self._started_at = 0.0
        self._oom_kills_before = 0
        self._killed = False
        self._end_due_at: float | None = None
        """When the guardian must have ended all processes, once it was asked to."""
        self._signalled_at: float | None = None
        """When a stop signal from outside ended the child, and it is open whether the worker gets one too."""

    @property
    def running(self) -> bool:
        return self._handle is not None and self.outcome is None

    def start(self, handler: str) -> list[int]:
        publication.prepare(self.claim, self.places)
        request = self._request(handler)
        self._oom_kills_before = resources.oom_kills()
        if self._dead_spare is not None and self._spares is not None:
            self._dead_spare.close()
            self._spares = self._dead_spare = None
        log_fd = publication.open_log(self._log_path)
        try:
            handle = self._warm(request, log_fd) or self._cold(request, log_fd)
        finally:
            os.close(log_fd)
        with self._lock:
            self._started_at = time.monotonic()
            self._idle.reset()
            self._handle = handle
            if self._killed:
                self._command("kill")
            elif self.stop_requested is not None:
                self._command(f"stop {self.stop_grace_sec}", self.stop_grace_sec)
        return [handle.replies.fd, handle.reports.fd]

    def _warm(self, request: Request, log_fd: int) -> ChildHandle | None:
        spec = registry.find(self.claim.task_name)
        if self._spares is None or spec is None or spec.warm is None:
            return None
        handle = self._spares.take(Kind(module=spec.warm, cores=self.claim.cores))
        if handle is None:
            return None
        try:
            handle.give(request, log_fd)
        except OSError as error:
            logger.warning("the warm spare could not take %s: %s", self.named, error)
            handle.close()
            return None
        return handle

    def _cold(self, request: Request, log_fd: int) -> ChildHandle:
        handle = ChildHandle(
            mark=str(self.claim.claim_token),
            cores=self.claim.cores,
            scratch=self.places.scratch_dir,
            log_path=self._log_path,
            log_fd=log_fd,
        )
        handle.give(request, log_fd)
        return handle

    def _request(self, handler: str) -> Request:
        spec = registry.find(self.claim.task_name)
        own = (self.places.attempt_dir, self._log_path, *environment.shared(settings.ABSURD_VAR))
        return Request(
            task_id=str(self.claim.task_id),
            attempt=self.claim.attempt,
            task_name=self.claim.task_name,
            handler=handler,
            params=self.claim.params,
            attempt_dir=str(self.places.attempt_dir),
            published_dir=str(self.places.published_dir),
            data_roots=tuple(map(str, settings.ABSURD_DATA_ROOTS)),
            other_roots=self._other_roots,
            log_path=str(self._log_path),
            check_log=spec.check_log if spec else None,
            cores=self.claim.cores,
            memory_gb=self.claim.memory_gb,
            traceparent=self.span.traceparent,
            watch_inputs=spec is None or spec.stable_inputs,
            writable=confine.places(own, settings.ABSURD_DATA_ROOTS) if self._confined else None,
            environment=environment.of_attempt(scratch=self.places.scratch_dir, log_path=self._log_path),
        )

    def listen(self) -> list[int]:
        handle = self._handle
        if handle is None:
            return []
        for line in handle.reports.read():
            self._read_report(json.loads(line))
        try:
            for line in handle.replies.read():
                self._read_message(line)
        except ValueError as error:
            self._reply = protocol.Failure(failure_class="error", message=str(error))
            handle.replies.at_end = True
            self.kill()
        if self.running and (self._exit is not None or handle.reports.at_end):
            if handle.was_spare and not self._child_started and self.stop_requested is None:
                return self._start_again(handle)
            self._conclude()
        return [pipe.fd for pipe in (handle.replies, handle.reports) if pipe.at_end]

    def _start_again(self, handle: ChildHandle) -> list[int]:
        """Drop a spare that ended before it started the attempt; the dispatcher starts what is not running."""
        logger.warning("the warm spare ended before it started %s, which starts without it", self.named)
        environment.kill_marked(handle.mark)
        with self._lock:
            self._dead_spare = handle
            self._handle = self._exit = None
        return [handle.replies.fd, handle.reports.fd]

    def _read_report(self, report: dict[str, object]) -> None:
        kind = report.pop("type")
        if kind == "started":
            logger.info("attempt started %s pid=%s log=%s", self.named, report["pid"], self.log_path)
        elif kind == "exited":
            self._exit = Exit(**report)  # type: ignore[arg-type]

    def _read_message(self, line: bytes) -> None:
        try:
            message = protocol.decode(line)
        except ValueError:
            logger.warning("unreadable message from the child %s: %.200r", self.named, line)
            return
        if isinstance(message, Ready | Started):
            self._child_started = isinstance(message, Started)
        elif isinstance(message, Progress):
            self.set_progress(message)
            self._idle.reset()
        else:
            self._reply = message

    def _conclude(self) -> None:
        """Judge the end, unless it is open whether the worker is being stopped too."""
        if self._exit is None:
            self._exit = Exit()
            if self._handle is not None:
                environment.kill_marked(self._handle.mark)
        if self._exit.signal in STOP_SIGNALS and self._reply is None and self.stop_requested is None:
            self._signalled_at = time.monotonic()
        else:
            self._judge(self._exit)

    def worker_is_stopping(self) -> None:
        if self._signalled_at is not None and self._exit is not None and self.running:
            self.request_stop(DRAINED_TOGETHER, grace_sec=0.0)
            self._judge(self._exit)

    def _judge(self, exit: Exit) -> None:
        known = Memory(
            peak_bytes=self.peak_rss_bytes,
            limit_gb=self.ceiling_gb,
            oom_kills=resources.oom_kills() - self._oom_kills_before,
        )
        self.outcome = judge(
            reply=self._reply, exit=exit, stop=self.stop_requested, memory=known, started=self._child_started
        )
        logger.info(
            "attempt ended %s as=%s wall_sec=%.1f peak_rss_mb=%.0f %s",
            self.named,
            self.outcome.failure_class or "completed",
            time.monotonic() - self._started_at,
            self.peak_rss_bytes / 1e6,
            self.outcome.message.split("\n", 1)[0],
        )

    def _begin_stop(self, grace_sec: float) -> None:
        """Have the guardian stop it: stacks into the log, SIGTERM, grace, SIGKILL."""
        self._command(f"stop {grace_sec}", grace_sec)

    def kill(self, stop: Stop | None = None) -> None:
        with self._lock:
            began = stop is not None and self.request_stop(stop, grace_sec=0.0)
            if not self._killed:
                self._killed = True
                self._command("kill")
        if began and stop is not None:
            logger.info("killing attempt %s as=%s: %s", self.named, stop.failure_class, stop.message)

    def _command(self, text: str, grace_sec: float = 0.0) -> None:
        if self._handle is not None:
            self._end_due_at = time.monotonic() + grace_sec
            self._handle.command(text)

    def _end_unresponsive_guardian(self) -> None:
        """Kill a guardian that does not answer; the kernel ends its child, and what is left is found by its mark."""
        due_at, handle = self._end_due_at, self._handle
        if due_at is None or handle is None or self._exit is not None:
            return
        if time.monotonic() > due_at + GUARDIAN_ANSWERS_WITHIN_SEC and handle.guardian.poll() is None:
            self._end_due_at = None
            logger.warning("the guardian of %s does not answer and is killed", self.named)
            handle.guardian.kill()

    def check_limits(self) -> None:
        if self._signalled_at is not None and self._exit is not None:
            if self.stop_requested is not None or time.monotonic() > self._signalled_at + WORKER_STOPS_WITHIN_SEC:
                self._judge(self._exit)
            return
        self._end_unresponsive_guardian()
        ran_sec = time.monotonic() - self._started_at
        self.check_timeout(ran_sec)
        handle = self._handle
        if handle is not None and handle.was_spare and not self._child_started and ran_sec > SPARE_STARTS_WITHIN_SEC:
            handle.command("kill")
        usage = self._sample()
        idle_sec = self._idle.idle_sec(usage.cpu_sec)
        if self.claim.idle_timeout_sec is not None and idle_sec > self.claim.idle_timeout_sec:
            message = f"no progress, log line or processor time for {idle_sec:.0f} s, longer than its idle timeout of "
            message += f"{self.claim.idle_timeout_sec} s"
            self.stop(Stop(failure_class="idle_timeout", message=message))
        taken_gb = usage.own_bytes / 1e9
        if taken_gb > self.ceiling_gb:
            message = f"took {taken_gb:.2f} GB, more than the {self.ceiling_gb:.2f} GB allowed to attempt "
            message += f"{self.claim.attempt} of a task name that declares {self.claim.memory_gb:g} GB"
            self._end_for_memory(Stop(failure_class="memory", message=message))

    def _end_for_memory(self, stop: Stop) -> None:
        """Kill it, with a moment for its stacks first where the host can bear what it may take meanwhile."""
        if self.stop_requested is None and resources.stacks_can_be_taken():
            self.stop(stop, grace_sec=0.0)
        else:
            self.kill(stop)

    def _sample(self) -> Usage:
        if self._handle is not None:
            self._usage = self._handle.measure()
            self._peak_rss_bytes = max(self._peak_rss_bytes, self._usage.rss_bytes)
            self._series.add(time.monotonic() - self._started_at, self._usage.rss_bytes, self._usage.cpu_sec)
        return self._usage

    def check_log(self) -> None:
        self._idle.check_log()

    def survivors(self) -> list[str]:
        return [] if self._handle is None else self._handle.survivors()

    def used(self) -> Used:
        return Used(
            claim_token=self.claim.claim_token,
            peak_rss_bytes=self._peak_rss_bytes,
            cpu_sec=self._usage.cpu_sec,
            read_bytes=self._usage.read_bytes,
            write_bytes=self._usage.write_bytes,
            series=self._series.flat(),
        )

    @property
    def peak_rss_bytes(self) -> int:
        """The largest memory seen, by sampling or by the kernel's own account."""
        return max(self._peak_rss_bytes, self._exit.peak_rss_bytes if self._exit else 0)

    def report(self) -> AttemptReport:
        """Return what is kept of the attempt; the log's tail only when it did not complete."""
        outcome, ended = self.outcome, self._exit or Exit()
        failed = outcome is not None and outcome.failure_class is not None
        used = Usage(cpu_sec=ended.cpu_sec, read_bytes=ended.read_bytes, write_bytes=ended.write_bytes)
        if self._handle is not None:
            used = used.since(self._handle.base)
        return AttemptReport(
            traceback=outcome.traceback if outcome else "",
            exit_code=ended.exit_code,
            signal=signal_name(ended.signal) if ended.signal else "",
            log_tail=publication.log_tail(self._log_path) if failed else "",
            peak_rss_bytes=self.peak_rss_bytes or None,
            cpu_sec=used.cpu_sec if self._exit else None,
            read_bytes=used.read_bytes if self._exit else None,
            write_bytes=used.write_bytes if self._exit else None,
            stack=ended.stack if failed else "",
        )

    def close(self) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
