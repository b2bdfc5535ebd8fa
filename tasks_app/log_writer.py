"""Log lines written by a thread of their own, so that logging never waits for their reader.

A pipe that nobody reads (a frozen supervisor, Ctrl-S in a terminal, a blocking log driver) is full after 64 kB, and
the next write waits for ever. Here it is the writing thread that waits. Lines beyond a bound are dropped and counted,
and the count is written as soon as somebody reads again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from weakref import WeakSet

LINES_MOST = 2000
LINE_CHARS_MOST = 32_000
FLUSH_SEC = 2.0
"""How long a process that ends waits for its last lines to be read."""

_handlers: WeakSet[BackgroundHandler] = WeakSet()


def dropped_lines() -> int:
    """Return how many lines this process has dropped so far."""
    return sum(handler.dropped for handler in _handlers)


class BackgroundHandler(logging.Handler):
    """Writes to a descriptor, standard error by default; `emit` neither waits nor raises."""

    def __init__(self, fd: int = 2, lines_most: int = LINES_MOST) -> None:
        super().__init__()
        self._fd = fd
        self._lines_most = lines_most
        self._begin_anew()
        _handlers.add(self)

    def _begin_anew(self) -> None:
        self.dropped = 0
        self._reported = 0
        self._lines: deque[bytes] = deque()
        self._wanted = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= self._lines_most:
            self.dropped += 1
            return
        self._idle.clear()
        self._lines.append(self._encoded(record))
        self._wanted.set()
        # The lock of `handle` is held, so that one thread only is started.
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
            self._thread.start()

    def _encoded(self, record: logging.LogRecord) -> bytes:
        try:
            line = self.format(record)
        except Exception as error:
            line = f"a log record of {record.name}, line {record.lineno}, cannot be formatted: {type(error).__name__}"
        if len(line) > LINE_CHARS_MOST:
            half = LINE_CHARS_MOST // 2
            line = f"{line[:half]} […] {line[-half:]}"
        return line.encode(errors="backslashreplace") + b"\n"

    def _write_on(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            while self._lines:
                self._write(self._lines.popleft())
                if self.dropped > self._reported and not self._lines:
                    lost, self._reported = self.dropped - self._reported, self.dropped
                    self._write(
                        f"{lost} log lines were dropped here, because they were not read fast enough\n".encode()
                    )
            self._idle.set()

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError:
            self.dropped += 1
            self._reported += 1

    def flush(self) -> None:
        """Wait until everything has been written, but not for long."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        deadline = time.monotonic() + FLUSH_SEC
        while self._lines and time.monotonic() < deadline:
            self._idle.wait(0.05)
        self._idle.wait(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    """Threads do not survive a fork, and what the parent has yet to write is the parent's."""
    for handler in _handlers:
        handler._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
