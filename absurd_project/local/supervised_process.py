"""One process of the stack: started, restarted with growing patience, and ended with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from absurd_project.local import liveness
from absurd_project.local.output import Output
from absurd_project.local.processes import CHECKOUT, Process
from absurd_project.local.unprivileged import launcher

FIRST_DELAY_SEC = 1.0
LONGEST_DELAY_SEC = 30.0
# A process that lived this long is taken to have been well: the next restart is quick again.
WELL_AFTER_SEC = 30.0


class Child:
    """Keeps one process running. Each runs in a group of its own and ends when the supervisor dies."""

    def __init__(self, process: Process, output: Output, on_end: Callable[[str, str], None] | None = None) -> None:
        self.process = process
        self.restarts = 0
        self._output = output
        self._on_end = on_end
        self._running: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._delay_sec = FIRST_DELAY_SEC
        self._done = False

    @property
    def pid(self) -> int | None:
        """The pid of the process while it runs."""
        return self._running.pid if self._running and self.alive() else None

    def alive(self) -> bool:
        """Whether the process runs now."""
        return self._running is not None and liveness.alive(self._running.pid)

    def start(self) -> None:
        """Start the process."""
        target = self._output.target(self.process.name)
        try:
            self._running = subprocess.Popen(
                [*launcher("--end-with", str(os.getpid())), *self.process.argv],
                cwd=CHECKOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(self.process.environment),
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if not isinstance(target, int):
                target.close()
        self._started_at = time.monotonic()
        self._output.attach(self.process.name, self._running)

    def poll(self) -> None:
        """Start the process again if it has ended and its delay is over."""
        now = time.monotonic()
        if self._running is not None:
            if self.alive():
                return
            code = self._bury()
            if code == 0 and self.process.may_end:
                self._done = True
                self._output.say(self.process.name, "[stack] ended as requested")
                return
            if now - self._started_at > WELL_AFTER_SEC:
                self._delay_sec = FIRST_DELAY_SEC
            self._start_at = now + self._delay_sec
            if self._on_end is not None:
                # A full disk keeps health from knowing, not the process from being started again.
                with contextlib.suppress(OSError):
                    self._on_end(self.process.name, _in_words(code))
            self._output.say(
                self.process.name, f"[stack] ended with {_in_words(code)}; restart in {self._delay_sec:.0f} s"
            )
            self._delay_sec = min(2 * self._delay_sec, LONGEST_DELAY_SEC)
        elif now >= self._start_at and not self._done:
            self.restarts += 1
            self.start()

    def signal(self, number: signal.Signals) -> None:
        """Signal the process alone; what it started is its own to stop."""
        if self._running is not None and self.alive():
            self._running.send_signal(number)

    def end(self) -> None:
        """Kill what is left of the process and its group."""
        if self._running is not None:
            self._bury()

    def _bury(self) -> int:
        # The group is killed before its leader is reaped: until then nobody else can be given its number.
        process, self._running = self._running, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
