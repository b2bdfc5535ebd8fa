"""One attempt in the worker's hands: start its guardian, listen to it and to the child, stop it, judge its end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tasks_app import registry
from tasks_app.claiming import AttemptReport, Claim
from tasks_app.usage import Used
from workers import cores, environment, guardian, logs, protocol, publication, resources, strays
from workers.execution import Execution
from workers.outcome import CRASHES, Exit, Memory, Stop, clean, judge, signal_name
from workers.protocol import Progress, Reply, Request
from workers.resources import Usage
from workers.silence import Silence

READ_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class Lines:
    """The whole lines that have arrived on a pipe, read without waiting."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._partial = b""
        self.at_end = False
        os.set_blocking(fd, False)

    def read(self) -> Iterator[bytes]:
        """Yield the lines that can be read now. Raises ValueError for one that is longer than any message."""
        while not self.at_end:
            try:
                chunk = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                return
            self.at_end = not chunk
            *whole, self._partial = (self._partial + chunk).split(b"\n")
            if len(self._partial) > protocol.LINE_BYTES_MOST:
                raise ValueError(f"a message is longer than {protocol.LINE_BYTES_MOST} bytes")
            yield from whole


class ProcessExecution(Execution):
    """An attempt in a guarded process of its own."""

    def __init__(
        self, claim: Claim, *, root: Path, var: Path, data_roots: tuple[Path, ...], host_memory_gb: float
    ) -> None:
        super().__init__(claim, root=root)
        self.ceiling_gb = memory_ceiling_gb(claim, host_memory_gb)
        self._log = self.log_path = logs.path_of(var, claim)
        self._silence = Silence(self._log)
        self._var = var
        self._data_roots = data_roots
        self._guardian: subprocess.Popen[bytes] | None = None
        self._reply: Reply | None = None
        self._exit: Exit | None = None
        self._usage = Usage()
        self._peak_rss_bytes = 0
        self._started_at = 0.0
        self._oom_kills_before = 0
        self._killed = False

    @property
    def running(self) -> bool:
        """Whether the guardian has been started and the end is not known yet."""
        return self._guardian is not None and self.outcome is None

    def start(self, handler: str) -> list[int]:
        """Start guardian and child; return the descriptors to listen to. Raises OSError."""
        publication.prepare(self.claim, self.places)
        scratch = self.places.scratch_dir
        request_fd = self._write_request(handler)
        reply_read, reply_write = os.pipe()
        log_fd = logs.open_for_append(self._log)
        self._oom_kills_before = oom_kills()
        try:
            self._guardian = subprocess.Popen(
                [*guardian.COMMAND, str(request_fd), str(reply_write), str(scratch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_fd,
                bufsize=0,
                pass_fds=(request_fd, reply_write),
                start_new_session=True,
                cwd=scratch,
                env=environment.of_child(claim=self.claim, scratch=scratch, log_path=self._log, var=self._var),
            )
        except OSError:
            os.close(reply_read)
            raise
        finally:
            for fd in (request_fd, reply_write, log_fd):
                os.close(fd)
        assert self._guardian.stdout is not None  # noqa: S101 - it is a pipe, as asked for above
        self._started_at = time.monotonic()
        self._silence.broken()
        self._replies, self._reports = Lines(reply_read), Lines(self._guardian.stdout.fileno())
        return [self._replies.fd, self._reports.fd]

    def _write_request(self, handler: str) -> int:
        """Return a descriptor of the request, in memory: a pipe would block when the params are large."""
        spec = registry.find(self.claim.task_name)
        request = Request(
            task_id=str(self.claim.task_id),
            attempt=self.claim.attempt,
            task_name=self.claim.task_name,
            handler=handler,
            params=self.claim.params,
            attempt_dir=str(self.places.attempt_dir),
            published_dir=str(self.places.published_dir),
            data_roots=tuple(map(str, self._data_roots)),
            log_path=str(self._log),
            benign_severe=spec.benign_severe if spec and spec.severe_is_failure else None,
            cores=self.claim.cores,
            memory_gb=self.claim.memory_gb,
        )
        fd = os.memfd_create("request")
        with os.fdopen(os.dup(fd), "wb") as stream:
            stream.write(request.model_dump_json().encode())
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def listen(self) -> list[int]:
        """Read what has arrived; return the descriptors that have come to their end and are to be forgotten."""
        for line in self._reports.read():
            self._hear_guardian(json.loads(line))
        try:
            for line in self._replies.read():
                self._hear_child(line)
        except ValueError as error:
            self._reply = protocol.Failure(failure_class="error", message=str(error))
            self._replies.at_end = True
            self.kill()
        if self.running and (self._exit is not None or self._reports.at_end):
            self._conclude()
        return [pipe.fd for pipe in (self._replies, self._reports) if pipe.at_end]

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
        if isinstance(message, Progress):
            self.news = message.model_copy(update={"message": clean(message.message)})
            self._silence.broken()
        else:
            self._reply = message

    def _conclude(self) -> None:
        if self._exit is None:
            self._exit = Exit()
            strays.kill(self.claim.claim_token)
        memory = Memory(
            peak_bytes=self.peak_rss_bytes,
            limit_gb=self.ceiling_gb,
            oom_kills=oom_kills() - self._oom_kills_before,
        )
        core_hint = cores.hint(self._exit.core_dumped) if self._exit.signal in CRASHES else ""
        self.outcome = judge(
            reply=self._reply, exit=self._exit, stop=self.stop_asked, memory=memory, core_hint=core_hint
        )
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
        if self.begin_stop(stop, grace_sec=grace_sec):
            logger.info("stopping attempt %s as=%s: %s", self.named, stop.failure_class, stop.message)
            self._order(f"stop {grace_sec}")

    def kill(self, stop: Stop | None = None) -> None:
        """Have everything of the attempt killed at once."""
        if stop is not None and self.begin_stop(stop, grace_sec=0.0):
            logger.info("killing attempt %s as=%s: %s", self.named, stop.failure_class, stop.message)
        if not self._killed:
            self._killed = True
            self._order("kill")

    def _order(self, text: str) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.write(f"{text}\n".encode())

    def check_limits(self, *, grace_sec: float) -> None:
        """Stop the attempt when it has run or grown beyond what it may."""
        ran_sec = time.monotonic() - self._started_at
        if ran_sec > self.claim.timeout_sec:
            message = f"ran for {ran_sec:.0f} s, longer than its timeout of {self.claim.timeout_sec} s"
            self.stop(Stop(failure_class="timeout", message=message), grace_sec=grace_sec)
        usage = self._sample()
        silent_sec = self._silence.look(usage.cpu_sec)
        if self.claim.silence_sec is not None and silent_sec > self.claim.silence_sec:
            message = f"no progress, log line or processor time for {silent_sec:.0f} s"
            self.stop(Stop(failure_class="silent", message=message), grace_sec=grace_sec)
        taken_gb = usage.own_bytes / 1e9
        if taken_gb > self.ceiling_gb:
            message = f"took {taken_gb:.2f} GB, more than the {self.ceiling_gb:.2f} GB allowed to attempt "
            message += f"{self.claim.attempt} of a task name that declares {self.claim.memory_gb:g} GB"
            self.kill(Stop(failure_class="memory", message=message))

    def _sample(self) -> Usage:
        if self._guardian is not None:
            self._usage = resources.measure(self._guardian.pid)
            self._peak_rss_bytes = max(self._peak_rss_bytes, self._usage.rss_bytes)
        return self._usage

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
        return AttemptReport(
            traceback=outcome.traceback if outcome else "",
            exit_code=ended.exit_code,
            signal=signal_name(ended.signal) if ended.signal else "",
            log_tail=logs.tail(self._log) if failed else "",
            peak_rss_bytes=self.peak_rss_bytes or None,
            cpu_sec=ended.cpu_sec if self._exit else None,
            read_bytes=ended.read_bytes if self._exit else None,
            write_bytes=ended.write_bytes if self._exit else None,
            stack=clean(ended.stack) if failed else "",
        )

    def close(self) -> subprocess.Popen[bytes] | None:
        """Close the pipes; return the guardian, which may still be clearing away and is to be reaped later."""
        if self._guardian is None:
            return None
        os.close(self._replies.fd)
        for pipe in (self._guardian.stdin, self._guardian.stdout):
            if pipe is not None:
                pipe.close()
        return self._guardian


def memory_ceiling_gb(claim: Claim, host_memory_gb: float) -> float:
    """Return the memory at which an attempt is stopped.

    A declaration is for admission and an estimate: the first attempt may take twice as much, each further one twice as
    much as the last, up to the host's share.
    """
    return max(claim.memory_gb, min(host_memory_gb, claim.memory_gb * 2.0**claim.attempt))


def oom_kills() -> int:
    """Return how many processes the kernel has killed on this host for want of memory."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
