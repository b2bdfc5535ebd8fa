"""The process in which a handler runs: ``python -m workers.process.child``, started by the guardian, used once.

It has no Django, no database and no secret. Started as a spare it first imports what the module named in its
environment imports, whose `hand_over` is called when there is an attempt.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import fcntl
import gc
import importlib
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from tasks_app import cleaning, tracing
from tasks_app.engine import call_handler
from tasks_app.engine.handler import DirectoryContext
from tasks_app.files import host_faults
from workers.process import confine as confinement
from workers.process import inputs, protocol
from workers.process.protocol import ChildMessage, Failure, Progress, Ready, Reply, Request, Result, Started
from workers.process.run_handler import failure_of, product_notes, run_handler
from workers.process.stacks import STACK_FD

DENIED = os.strerror(errno.EACCES)
HIGH_FD = 400
"""Descriptors from here on are seldom closed by code that closes all that it may have inherited."""
PROGRESS_EVERY_SEC = 0.2

Report = tuple[float | None, str, Mapping[str, float]]

_write = os.write


class Channel:
    """The pipe to the worker, of this process alone: what a handler forks may not write there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pipe = os.fstat(self._fd)
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def send(self, message: ChildMessage) -> None:
        """Write one whole line, whichever thread calls. Raises OSError when the handler has closed the pipe."""
        self._send(protocol.encode(message))

    def reply(self, reply: Reply) -> None:
        """Send how the attempt ended; a reply that cannot be written becomes a failure that names the reason."""
        if os.getpid() != self._pid:
            os._exit(0)
        try:
            line = protocol.encode(reply)
        except Exception as error:
            line = protocol.encode(failure_of(error))
        if len(line) > protocol.LINE_BYTES_MOST:
            message = (
                f"the result has {len(line)} bytes as JSON, more than the {protocol.LINE_BYTES_MOST} that are kept"
            )
            line = protocol.encode(Failure(failure_class="error", message=message))
        try:
            self._send(line)
        except OSError:
            os._exit(protocol.CANNOT_REPLY)

    def _send(self, content: bytes) -> None:
        if os.getpid() != self._pid:
            return
        line = memoryview(content)
        with self._lock:
            if not os.path.samestat(os.fstat(self._fd), self._pipe):
                raise OSError(errno.EBADF, "another file has taken the place of the pipe to the worker")
            while line:
                line = line[_write(self._fd, line) :]


def high(fd: int) -> int:
    """Return a duplicate of a descriptor where it is safer."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)


class Log:
    """The attempt's log, where it can be written to whatever the handler does with standard error."""

    def __init__(self) -> None:
        self._fd = 2

    def keep(self, fd: int) -> None:
        """Write to the file behind this descriptor from now on."""
        self._fd = high(fd)

    def write(self, text: str) -> None:
        """Write a text; that it cannot be written is no reason to fail."""
        with contextlib.suppress(OSError):
            _write(self._fd, text.encode(errors="backslashreplace"))


class ProgressRate:
    """Passes a report on at once, or, when the last one is too recent, the newest of them a little later."""

    def __init__(self, pass_on: Callable[[float | None, str, Mapping[str, float]], object]) -> None:
        self._pass_on = pass_on
        self._lock = threading.Lock()
        self._waiting: Report | None = None
        self._timer: threading.Timer | None = None
        self._next_at = 0.0

    def report(self, fraction: float | None, message: str, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._waiting = (fraction, message, metrics)
            wait_sec = self._next_at - time.monotonic()
            if wait_sec <= 0:
                self._pass_newest()
            elif self._timer is None:
                self._timer = threading.Timer(wait_sec, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._pass_newest()

    def _pass_newest(self) -> None:
        report, self._waiting = self._waiting, None
        if report is not None:
            self._next_at = time.monotonic() + PROGRESS_EVERY_SEC
            self._pass_on(*report)


log = Log()


class ChildContext(DirectoryContext):
    """The context given to the handler: progress goes to the worker and into the log."""

    def __init__(self, request: Request, channel: Channel) -> None:
        super().__init__(
            attempt_dir=Path(request.attempt_dir),
            published_dir=Path(request.published_dir),
            task_id=request.task_id,
            attempt=request.attempt,
            task_name=request.task_name,
            data_roots=[Path(root) for root in request.data_roots],
            other_roots=request.other_roots,
            cores=request.cores,
            memory_gb=request.memory_gb,
        )
        self._channel = channel
        self._rate = ProgressRate(self._send)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        self._rate.report(fraction, message, metrics)

    def finish_reporting(self) -> None:
        self._rate.flush()

    def _send(self, fraction: float | None, message: str, metrics: Mapping[str, float]) -> None:
        progress = Progress.of(fraction, message, metrics)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard output is the handler's to close
            super().progress(progress.fraction, progress.message)
        with contextlib.suppress(OSError):
            self._channel.send(progress)


def main() -> NoReturn:
    """Run the one request and end without Python's and CASA's tear-down, in which finished work can still crash."""
    request_fd, reply_fd, stack_fd = (
        int(os.environ.pop(n)) for n in (protocol.REQUEST_FD, protocol.REPLY_FD, STACK_FD)
    )
    for fd in (request_fd, reply_fd, stack_fd):
        os.set_inheritable(fd, False)
    faulthandler.enable(stack_fd, all_threads=True)
    faulthandler.register(signal.SIGUSR1, stack_fd, all_threads=True)
    channel = Channel(high(reply_fd))
    os.close(reply_fd)
    tracing.begin("absurd-child")
    warm = os.environ.pop(protocol.WARM, "")
    module = importlib.import_module(warm) if warm else None
    if module is not None:
        channel.send(Ready(pid=os.getpid()))
    request = receive(request_fd)
    try:
        reply = attempt(request, channel, None if module is None else module.hand_over)
    except BaseException as error:
        log.write(cleaning.traceback_of(error))
        places = {"params": request.params, "attempt_dir": request.attempt_dir}
        reply = failure_of(error, lacked=host_faults.reason(error, places, map(Path, request.data_roots)))
    channel.reply(reply)
    tracing.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(0)


def attempt(request: Request, channel: Channel, hand_over: Callable[[], object] | None) -> Reply:
    """Move into the attempt's directory, run the handler and return how it ended."""
    started_in = str(Path.cwd())
    enter(request)
    if hand_over is not None:
        hand_over()
    channel.send(Started())
    confine(request, started_in)
    return execute(request, ChildContext(request, channel))


def receive(fd: int) -> Request:
    """Wait for the request, and let all output go to the attempt's log from then on; without one, exit."""
    with socket.socket(fileno=fd) as pipe:
        _, fds, _, _ = socket.recv_fds(pipe, 16, 2)
    if len(fds) != 2:
        os._exit(0)
    request_fd, log_fd = fds
    for standard in (1, 2):
        os.dup2(log_fd, standard)
    log.keep(log_fd)
    os.close(log_fd)
    with os.fdopen(request_fd, "rb") as stream:
        return Request.model_validate_json(stream.read())


def enter(request: Request) -> None:
    """Work where the attempt works; what was loaded before keeps nothing of an earlier place."""
    os.environ.update(request.environment)
    tempfile.tempdir = None
    os.chdir(Path(request.attempt_dir) / "scratch")


def confine(request: Request, started_in: str) -> None:
    """Have the kernel refuse writes elsewhere, once the handler is imported: Python may store what it compiles.

    A spare keeps the directory that it started in.
    """
    if request.writable is None:
        return
    with contextlib.suppress(BaseException):  # raised again when it is called
        call_handler.load(request.handler)
    try:
        confinement.enter([*request.writable, started_in])
    except OSError as error:
        log.write(f"the kernel does not confine this attempt: {error}\n")


def execute(request: Request, context: ChildContext) -> Reply:
    """Run the handler and return how it ended; raises nothing."""
    log_path = Path(request.log_path)
    log_offset = log_path.stat().st_size if log_path.is_file() else 0

    def finish(outcome: object) -> Result:
        # Tools that the handler let go of close their tables now, before anything is summed.
        gc.collect()
        if request.check_log is not None:
            call_handler.resolve(request.check_log)(log_path, log_offset)
        return Result(result=call_handler.plain_result(outcome), products=product_notes(context))

    given = inputs.find(request.params if request.watch_inputs else {}, context.attempt_dir)
    for path in given.unwatched:
        log.write(f"input {path} has more than {inputs.FILES_MOST} files, which are not watched for changes\n")
    reply = run_handler(request.handler, request.params, context, finish, traceparent=request.traceparent)
    context.finish_reporting()
    if changed := given.changed():
        reply = inputs.absent(given.paths, request.data_roots) or inputs.refuse(reply, changed)
    elif isinstance(reply, Failure) and request.writable is not None and DENIED in reply.message:
        reply = reply.model_copy(update={"message": f"{reply.message} ({confinement.HINT})"})
    if isinstance(reply, Failure):
        log.write(reply.traceback)
    return reply


if __name__ == "__main__":
    main()
