"""The running system for the demo: the one that is up already, or one that the demo starts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from absurd_project.local.pid_file import running
from absurd_project.local.ports import PortBusy, check_port, is_open
from absurd_project.local.processes import default_processes
from absurd_project.local.supervisor import Stack

START_SEC = 60.0


class SystemDoesNotStart(Exception):
    """The web server does not answer; the message says where to look."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A system to send tiles to. `stack` is None when somebody else runs it."""

    port: int
    incoming: Path
    stack: Stack | None

    def poll(self) -> None:
        """Restart what has died, if it is ours."""
        if self.stack is not None:
            self.stack.poll()


@contextmanager
def running_system(var: Path, port: int) -> Iterator[System]:
    """Yield the system that runs on the state directory, starting it and stopping it again if none does.

    Raises SystemDoesNotStart.
    """
    incoming = var / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    if running(var) is not None:
        if not is_open(port):
            raise SystemDoesNotStart(f"a system runs on {var}, but not on port {port}: set ABSURD_PORT to its port")
        yield System(port=port, incoming=incoming, stack=None)
        return
    port = _free_port(port)
    os.environ["ABSURD_PORT"] = str(port)
    with Stack(default_processes(port, incoming), var=var) as stack:
        _wait_for_web(stack, port, var)
        yield System(port=port, incoming=incoming, stack=stack)


def _free_port(wanted: int) -> int:
    """Return the wanted port, or any other when some program has it."""
    try:
        check_port(wanted)
    except PortBusy:
        with socket.socket() as line:
            line.bind(("127.0.0.1", 0))
            return int(line.getsockname()[1])
    return wanted


def _wait_for_web(stack: Stack, port: int, var: Path) -> None:
    deadline = time.monotonic() + START_SEC
    while not is_open(port):
        if time.monotonic() > deadline:
            raise SystemDoesNotStart(f"the web server does not answer on port {port}; see {var / 'log' / 'web.log'}")
        stack.poll()
        time.sleep(0.1)
