"""Where the processes' lines go: to the terminal, each behind its process's name, or quietly to files."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol, TextIO

from tasks_app.files.directories import make_private
from tasks_app.formats import escaped

COLOURS = (36, 33, 32, 35, 34, 31)
LOG_BYTES = 10_000_000
WAITING_LINES = 10_000
LAST_LINES_SEC = 2.0


class Output(Protocol):
    """What a stack needs to know about where lines go."""

    def target(self, name: str) -> int | IO[bytes]:
        """Return what to give the process as its standard output and error."""

    def attach(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Take over what a started process writes."""

    def write_line(self, name: str, line: str) -> None:
        """Add a line of the supervisor's own about one process."""

    def close(self) -> None:
        """Let the last lines out, without waiting for ever."""


class PrefixedLines:
    """Shows every process's lines on one stream, each with the process's name, coloured on a terminal.

    Lines wait in a bounded line-up for the one thread that prints: a terminal that is stopped or slow loses lines,
    but it never holds up the supervisor or a process.
    """

    def __init__(self, names: Sequence[str], stream: TextIO | None = None, *, logs: LogFiles | None = None) -> None:
        self._stream = stream or sys.stdout
        self._logs = logs
        self._width = max((len(name) for name in names), default=0)
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
        self._waiting: queue.Queue[str] = queue.Queue(maxsize=WAITING_LINES)
        threading.Thread(target=self._print, name="printer", daemon=True).start()

    def target(self, name: str) -> int:
        return subprocess.PIPE

    def attach(self, name: str, process: subprocess.Popen[bytes]) -> None:
        threading.Thread(target=self._pump, args=(name, process), name=f"lines-of-{name}", daemon=True).start()

    def write_line(self, name: str, line: str) -> None:
        self._keep(name, f"{line}\n".encode())
        self._show(name, line)

    def _show(self, name: str, line: str) -> None:
        prefix = f"{name:<{self._width}} |"
        if self._stream.isatty() and name in self._colours:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        shown = escaped(line, keep="\t")
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(f"{prefix} {shown}")

    def close(self) -> None:
        deadline = time.monotonic() + LAST_LINES_SEC
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _print(self) -> None:
        while True:
            line = self._waiting.get()
            # A terminal that is gone is no reason to stop: the processes do not need anybody to read them.
            with contextlib.suppress(OSError, ValueError):
                print(line, file=self._stream, flush=True)
            self._waiting.task_done()

    def _pump(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._keep(name, line)
                self._show(name, line.decode(errors="replace").rstrip())

    def _keep(self, name: str, line: bytes) -> None:
        # A full disk is no reason to stop reading what a process writes: it would stand still.
        if self._logs is not None:
            with contextlib.suppress(OSError), self._logs.target(name) as log:
                log.write(line)


class LogFiles:
    """Keeps every process's lines in `<directory>/<name>.log`, the previous file beside it when it grew large."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """Return the log of one process."""
        return self._directory / f"{name}.log"

    def target(self, name: str) -> IO[bytes]:
        path = self.path(name)
        make_private(path.parent)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def attach(self, name: str, process: subprocess.Popen[bytes]) -> None:
        return

    def write_line(self, name: str, line: str) -> None:
        with self.path(name).open("a") as log:
            log.write(f"{line}\n")

    def close(self) -> None:
        return
