"""One attempt in the worker's hands: start its guardian, listen to it and to the child, stop it, judge its end."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from pathlib import Path

from django.conf import settings

from tasks_app.engine import registry
from tasks_app.engine.worker_calls import AttemptReport, Claim
from tasks_app.monitoring.usage import Used
from workers.execution import Execution
from workers.outcome import CRASHES, DRAINED_TOGETHER, Exit, Memory, Stop, judge, signal_name
from workers.process import attempt_log, confine, core_files, environment, memory, orphan_reaper, protocol, publication
from workers.process.guardian import KILL_LIMIT_SEC, STOP_SIGNALS
from workers.process.handle import Enclosure, Surroundings
from workers.process.idle_timeout import Silence
from workers.process.prewarmed import Bench, Kind
from workers.process.protocol import Begun, Progress, Ready, Reply, Request
from workers.process.resources import Usage

BEGIN_WITHIN_SEC = 10.0
"""A spare that has not begun its attempt by then hangs; the attempt is started cold."""
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
        var: Path,
        data_roots: tuple[Path, ...],
        host_memory_gb: float,
        bench: Bench | None = None,
        confined: bool = False,
    ) -> None:
        super().__init__(claim, root=root)
        self.ceiling_gb = memory.ceiling_gb(claim, host_memory_gb)
        self._log = self.log_path = attempt_log.path_of(var, claim)
        self._silence = Silence(self._log)
        self._var = var
        self._data_roots = data_roots
        self._bench = bench
        self._confined = confined
        self._enclosure: Enclosure | None = None
        self._dead_spare: Enclosure | None = None
        self._begun = False
        self._reply: Reply | None = None
        self._exit: Exit | None = None
        self._usage = Usage()
        self._peak_rss_bytes = 0
        self._started_at = 0.0
        self._oom_kills_before = 0
        self._killed = False
        self._end_due_at: float | None = None
        """When the guardian must have ended everybody, once it was ordered to."""
        self._signalled_at: float | None = None
        """When a stop signal from outside ended the child, and it is open whether the worker gets one too."""

    @property
    def running(self) -> bool:
        """Whether the guardian has been started and the end is not known yet."""
        return self._enclosure is not None and self.outcome is None

    def start(self, handler: str) -> list[int]:
        """Give the attempt to a spare or to a child of its own; return the descriptors to listen to. Raises OSError."""
        publication.prepare(self.claim, self.places)
        request = self._request(handler)
        self._oom_kills_before = memory.oom_kills()
        if self._dead_spare is not None and self._bench is not None:
            self._bench.discard(self._dead_spare)
            self._bench = self._dead_spare = None
        log_fd = attempt_log.open_for_append(self._log)
        try:
            enclosure = self._warm(request, log_fd) or self._cold(request, log_fd)
        finally:
            os.close(log_fd)
        with self._lock:
            self._started_at = time.monotonic()
            self._silence.broken()
            self._enclosure = enclosure
            if self._killed:
                self._order("kill")
            elif self.stop_asked is not None:
                self._order(f"stop {self.stop_grace_sec}", self.stop_grace_sec)
        return [enclosure.replies.fd, enclosure.reports.fd]

    def _warm(self, request: Request, log_fd: int) -> Enclosure | None:
        spec = registry.find(self.claim.task_name)
        if self._bench is None or spec is None or spec.warm is None:
            return None
        enclosure = self._bench.take(Kind(module=spec.warm, cores=self.claim.cores))
        if enclosure is None:
            return None
        try:
            enclosure.give(request, log_fd)
        except OSError as error:
            logger.warning("the warm spare could not take %s: %s", self.named, error)
            self._bench.discard(enclosure)
            return None
        return enclosure

    def _cold(self, request: Request, log_fd: int) -> Enclosure:
        scratch, mark = self.places.scratch_dir, str(self.claim.claim_token)
        own = environment.of_child(
            mark=mark, cores=self.claim.cores, scratch=scratch, log_path=self._log, var=self._var
        )
        surroundings = Surroundings(
            mark=mark, environment=own, scratch=scratch, log_bytes_most=settings.ABSURD_LOG_MAX_MB << 20
        )
        enclosure = Enclosure(surroundings, log_fd)
        enclosure.give(request, log_fd)
        return enclosure

    def _request(self, handler: str) -> Request:
        spec = registry.find(self.claim.task_name)
        own = (self.places.attempt_dir, self._log, *environment.shared(self._var))
        return Request(
            task_id=str(self.claim.task_id),
            attempt=self.claim.attempt,
            task_name=self.claim.task_name,
            handler=handler,
            params=self.claim.params,
            attempt_dir=str(self.places.attempt_dir),
            published_dir=str(self.places.published_dir),
            data_roots=tuple(map(str, self._data_roots)),
            log_path=str(self._log),
            check_log=spec.check_log if spec else None,
            cores=self.claim.cores,
            memory_gb=self.claim.memory_gb,
            watch_inputs=spec is None or spec.stable_inputs,
            writable=confine.places(own, self._data_roots) if self._confined else None,
            environment=environment.of_attempt(scratch=self.places.scratch_dir, log_path=self._log),
        )

    def listen(self) -> list[int]:
        """Read what has arrived; return the descriptors that have come to their end and are to be forgotten."""
        enclosure = self._enclosure
        if enclosure is None:
            return []
        for line in enclosure.reports.read():
            self._hear_guardian(json.loads(line))
        try:
            for line in enclosure.replies.read():
                self._hear_child(line)
        except ValueError as error:
            self._reply = protocol.Failure(failure_class="error", message=str(error))
            enclosure.replies.at_end = True
            self.kill()
        if self.running and (self._exit is not None or enclosure.reports.at_end):
            if enclosure.was_spare and not self._begun and self.stop_asked is None:
                return self._start_again(enclosure)
            self._conclude()
        return [pipe.fd for pipe in (enclosure.replies, enclosure.reports) if pipe.at_end]

    def _start_again(self, enclosure: Enclosure) -> list[int]:
        """Let go of a spare that ended before it began the attempt; the loop starts what is not running."""
        logger.warning("the warm spare ended before it began %s, which starts cold", self.named)
        orphan_reaper.kill(enclosure.mark)
        with self._lock:
            self._dead_spare = enclosure
            self._enclosure = self._exit = None
        return [enclosure.replies.fd, enclosure.reports.fd]

    def _hear_guardian(self, report: dict[str, object]) -> None:
        kind = report.pop("type")
        if kind == "started":
            logger.info("attempt started %s pid=%s log=%s", self.named, report["pid"], self.log_path)
        elif kind == "exited":
            self._exit = Exit(**report)  # type: ignore[arg-type]

    def _hear_child(self, line: bytes) -> None:
        try:
            message = protocol.decode(line)
        except ValueError:
            logger.warning("unreadable message from the child %s: %.200r", self.named, line)
            return
        if isinstance(message, Ready | Begun):
            self._begun = isinstance(message, Begun)
        elif isinstance(message, Progress):
            self.take_in(message)
            self._silence.broken()
        else:
            self._reply = message

    def _conclude(self) -> None:
        """Judge the end, unless it is open whether the worker is being stopped too."""
        if self._exit is None:
            self._exit = Exit()
            if self._enclosure is not None:
                orphan_reaper.kill(self._enclosure.mark)
        if self._exit.signal in STOP_SIGNALS and self._reply is None and self.stop_asked is None:
            self._signalled_at = time.monotonic()
        else:
            self._judge(self._exit)

    def worker_stops(self) -> None:
        if self._signalled_at is not None and self._exit is not None and self.running:
            self.begin_stop(DRAINED_TOGETHER, grace_sec=0.0)
            self._judge(self._exit)

    def _judge(self, exit: Exit) -> None:
        known = Memory(
            peak_bytes=self.peak_rss_bytes,
            limit_gb=self.ceiling_gb,
            oom_kills=memory.oom_kills() - self._oom_kills_before,
        )
        core_hint = core_files.hint(exit.core_dumped) if exit.signal in CRASHES else ""
        self.outcome = judge(reply=self._reply, exit=exit, stop=self.stop_asked, memory=known, core_hint=core_hint)
        logger.info(
            "attempt ended %s as=%s wall_sec=%.1f peak_rss_mb=%.0f %s",
            self.named,
            self.outcome.failure_class or "completed",
            time.monotonic() - self._started_at,
            self.peak_rss_bytes / 1e6,
            self.outcome.message.split("\n", 1)[0],
        )

    def stop(self, stop: Stop, *, grace_sec: float) -> None:
        """Have the attempt stopped: stacks into the log, SIGTERM, grace, SIGKILL. The first reason given counts."""
        with self._lock:
            if not self.begin_stop(stop, grace_sec=grace_sec):
                return
            self._order(f"stop {grace_sec}", grace_sec)
        logger.info("stopping attempt %s as=%s: %s", self.named, stop.failure_class, stop.message)

    def kill(self, stop: Stop | None = None) -> None:
        """Have everything of the attempt killed at once."""
        with self._lock:
            began = stop is not None and self.begin_stop(stop, grace_sec=0.0)
            if not self._killed:
                self._killed = True
                self._order("kill")
        if began and stop is not None:
            logger.info("killing attempt %s as=%s: %s", self.named, stop.failure_class, stop.message)

    def _order(self, text: str, grace_sec: float = 0.0) -> None:
        if self._enclosure is not None:
            self._end_due_at = time.monotonic() + grace_sec
            self._enclosure.order(text)

    def _end_deaf_guardian(self) -> None:
        """Kill a guardian that does not obey; the kernel ends its child, and what is left is found by its mark."""
        due_at, enclosure = self._end_due_at, self._enclosure
        if due_at is None or enclosure is None or self._exit is not None:
            return
        if time.monotonic() > due_at + GUARDIAN_ANSWERS_WITHIN_SEC and enclosure.guardian.poll() is None:
            self._end_due_at = None
            logger.warning("the guardian of %s does not answer and is killed", self.named)
            enclosure.guardian.kill()

    def check_limits(self, *, grace_sec: float) -> None:
        """Stop the attempt when it has run or grown beyond what it may."""
        if self._signalled_at is not None and self._exit is not None:
            if self.stop_asked is not None or time.monotonic() > self._signalled_at + WORKER_STOPS_WITHIN_SEC:
                self._judge(self._exit)
            return
        self._end_deaf_guardian()
        ran_sec = time.monotonic() - self._started_at
        self.check_timeout(ran_sec, grace_sec=grace_sec)
        enclosure = self._enclosure
        if enclosure is not None and enclosure.was_spare and not self._begun and ran_sec > BEGIN_WITHIN_SEC:
            enclosure.order("kill")
        usage = self._sample()
        silent_sec = self._silence.look(usage.cpu_sec)
        if self.claim.idle_timeout_sec is not None and silent_sec > self.claim.idle_timeout_sec:
            message = f"no progress, log line or processor time for {silent_sec:.0f} s"
            self.stop(Stop(failure_class="idle_timeout", message=message), grace_sec=grace_sec)
        taken_gb = usage.own_bytes / 1e9
        if taken_gb > self.ceiling_gb:
            message = f"took {taken_gb:.2f} GB, more than the {self.ceiling_gb:.2f} GB allowed to attempt "
            message += f"{self.claim.attempt} of a task name that declares {self.claim.memory_gb:g} GB"
            self._end_for_memory(Stop(failure_class="memory", message=message))

    def _end_for_memory(self, stop: Stop) -> None:
        """Have it killed, with a moment for its stacks first where the host can bear what it may take meanwhile."""
        if self.stop_asked is None and memory.stacks_can_be_taken():
            self.stop(stop, grace_sec=0.0)
        else:
            self.kill(stop)

    def _sample(self) -> Usage:
        if self._enclosure is not None:
            self._usage = self._enclosure.measure()
            self._peak_rss_bytes = max(self._peak_rss_bytes, self._usage.rss_bytes)
        return self._usage

    def look_at_log(self) -> None:
        self._silence.look_at_log()

    def survivors(self) -> list[str]:
        return [] if self._enclosure is None else self._enclosure.survivors()

    def used(self) -> Used:
        return Used(
            claim_token=self.claim.claim_token,
            peak_rss_bytes=self._peak_rss_bytes,
            cpu_sec=self._usage.cpu_sec,
            read_bytes=self._usage.read_bytes,
            write_bytes=self._usage.write_bytes,
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
        if self._enclosure is not None:
            used = used.since(self._enclosure.base)
        return AttemptReport(
            traceback=outcome.traceback if outcome else "",
            exit_code=ended.exit_code,
            signal=signal_name(ended.signal) if ended.signal else "",
            log_tail=attempt_log.tail(self._log) if failed else "",
            peak_rss_bytes=self.peak_rss_bytes or None,
            cpu_sec=used.cpu_sec if self._exit else None,
            read_bytes=used.read_bytes if self._exit else None,
            write_bytes=used.write_bytes if self._exit else None,
            stack=ended.stack if failed else "",
        )

    def close(self) -> subprocess.Popen[bytes] | None:
        """Close the pipes; return the guardian, which may still be clearing away and is to be reaped later."""
        with self._lock:
            return None if self._enclosure is None else self._enclosure.close()
