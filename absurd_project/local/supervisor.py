"""Starts the processes, restarts what dies, stops all. Nothing here knows what they do."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TextIO

from absurd_project.local import pid_file, servers
from absurd_project.local.output import LogFiles, Output
from absurd_project.local.processes import Process
from absurd_project.local.supervised_process import Child
from tasks_app import supervised

POLL_SEC = 0.2
LOOK_AT_SERVERS_SEC = 2.0
# A worker takes the first SIGTERM as "finish what you run" and the second as "stop now".
GRACE_SEC = 8.0
SECOND_GRACE_SEC = 4.0


class Stack:
    """A set of processes kept running on one state directory. Quiet log files unless told otherwise.

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
        self._claim = pid_file.hold(self.var)
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
        self.output.say("stack", "a private server has ended; starting it again")
        try:
            servers.ensure(self.var)
        except servers.EmbeddedServerError as error:
            self.output.say("stack", str(error))
