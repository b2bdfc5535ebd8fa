"""The stack: which processes it has, how each is kept running, and how all are stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TextIO

from absurd_project.local import liveness, servers, state
from absurd_project.local.locations import CHECKOUT
from absurd_project.local.output import LogFiles, Output
from absurd_project.local.unprivileged import launcher
from tasks_app import supervised

WORKERS = 2
LOOPBACK = "127.0.0.1"
FIRST_DELAY_SEC = 1.0
LONGEST_DELAY_SEC = 30.0
# A process that lived this long is taken to have been well: the next restart is quick again.
WELL_AFTER_SEC = 30.0
POLL_SEC = 0.2
LOOK_AT_SERVERS_SEC = 2.0
# A worker takes the first SIGTERM as "finish what you run" and the second as "stop now".
GRACE_SEC = 8.0
SECOND_GRACE_SEC = 4.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process to keep running: the name it is shown under, its argv, and what to add to the environment."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    may_end: bool = False
    """Whether it is not started again after it has ended with code 0, as after a drain."""


def default_processes(port: int, incoming: Path, bind: str = LOOPBACK) -> list[Process]:
    """Return what `absurd_up` runs: web (console, API and feed) on one address, two workers, ingest.

    The workers together fill the cores, but none has more than four slots.
    """
    manage = (sys.executable, "-m", "absurd_project")
    daphne = (sys.executable, "-m", "daphne", "-v", "0", "-b", bind, "-p", str(port))
    slots = str(max(1, min(4, (os.cpu_count() or 1) // WORKERS)))
    labels = [f"worker-{number}" for number in range(1, WORKERS + 1)]
    return [
        Process(name="web", argv=(*daphne, "absurd_project.asgi:application"), environment={"ABSURD_PORT": str(port)}),
        *(
            Process(
                name=label,
                argv=(*manage, "runworker", "--worker-id", label, "--concurrency", slots),
                may_end=True,
            )
            for label in labels
        ),
        Process(name="ingest", argv=(*manage, "absurd_ingest", "--watch", str(incoming))),
    ]


class PortBusy(Exception):
    """Some other program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is in use by another program: stop it, or choose another with ABSURD_PORT")


def check_port(port: int, bind: str = LOOPBACK) -> None:
    """Raise PortBusy if the web server could not listen on the port."""
    with socket.socket(_family(bind)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            line.bind((bind, port))
        except OSError as error:
            raise PortBusy(port) from error


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_open(port: int, bind: str = LOOPBACK) -> bool:
    """Return whether something listens on the port."""
    with socket.socket(_family(bind)) as line:
        line.settimeout(1.0)
        return line.connect_ex((bind, port)) == 0


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
                self._output.write_line(self.process.name, "[stack] ended as requested")
                return
            if now - self._started_at > WELL_AFTER_SEC:
                self._delay_sec = FIRST_DELAY_SEC
            self._start_at = now + self._delay_sec
            if self._on_end is not None:
                # A full disk keeps health from knowing, not the process from being started again.
                with contextlib.suppress(OSError):
                    self._on_end(self.process.name, _in_words(code))
            self._output.write_line(
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
        # The group is killed before its leader is reaped: until then no other process can get its number.
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


class Stack:
    """A set of processes kept running on one state directory. Their lines go to log files by default.

    The caller polls: that is when the dead are restarted. Start and poll it from a thread that lives as long as
    the stack, because the kernel ends the children with the thread that started them.
    """

    def __init__(self, processes: Sequence[Process], *, var: Path, output: Output | None = None) -> None:
        self.var = var
        self.output: Output = output or LogFiles(var / "log")
        self.children = [Child(process, self.output, partial(supervised.note_end, var)) for process in processes]
        self._claim: TextIO | None = None
        self._look_at = 0.0

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Claim the state directory and start every process.

        Raises AlreadyRunning when another stack has it.
        """
        self._claim = state.hold(self.var)
        supervised.forget(self.var)
        try:
            for child in self.children:
                child.start()
        except BaseException:
            self.stop(grace_sec=0.0)
            raise

    def poll(self) -> None:
        """Restart what has died and is due; bring the private servers back if they are gone."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_AT_SERVERS_SEC
            self._look_after_servers()
        for child in self.children:
            child.poll()

    def run(self, until: threading.Event) -> None:
        """Poll until the event is set."""
        while not until.wait(POLL_SEC):
            self.poll()

    def stop(self, grace_sec: float = GRACE_SEC) -> None:
        """Stop every process: ask, ask again, then kill whole groups. Safe to call twice."""
        for patience_sec in (grace_sec, min(grace_sec, SECOND_GRACE_SEC)):
            for child in self.children:
                child.signal(signal.SIGTERM)
            self._wait(patience_sec)
        for child in self.children:
            child.end()
        self.output.close()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def kill(self) -> None:
        """Cut a stop in progress short."""
        for child in self.children:
            child.signal(signal.SIGKILL)

    def _wait(self, patience_sec: float) -> None:
        deadline = time.monotonic() + patience_sec
        while time.monotonic() < deadline and any(child.alive() for child in self.children):
            time.sleep(0.05)

    def _look_after_servers(self) -> None:
        if servers.healthy(self.var):
            return
        self.output.write_line("stack", "a private server has ended; starting it again")
        try:
            servers.ensure(self.var)
        except servers.EmbeddedServerError as error:
            self.output.write_line("stack", str(error))
