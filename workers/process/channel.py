"""Where the child writes: messages to the worker, progress at a bounded rate, lines of the attempt's log. No Django."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Mapping

from workers.process import protocol
from workers.process.protocol import ChildMessage, Failure, Reply
from workers.process.run_handler import failure_of

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
        """Send how the attempt ended; a reply that cannot be written becomes a failure that says so."""
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

    def __init__(self, pass_on: Callable[[float | None, str, Mapping[str, float]], None]) -> None:
        self._pass_on = pass_on
        self._lock = threading.Lock()
        self._waiting: Report | None = None
        self._timer: threading.Timer | None = None
        self._next_at = 0.0

    def report(self, fraction: float | None, message: str, metrics: Mapping[str, float]) -> None:
        """Pass it on, now or later."""
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
        """Pass on what is waiting."""
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
