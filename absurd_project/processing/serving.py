"""What does the work: the workers or the system that run already, or else our own, ended with the block."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import OutputWrapper
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from absurd_project import accounts
from absurd_project.local.output import LogFiles
from absurd_project.local.state import running
from absurd_project.local.supervisor import Child, PortBusy, Process, Stack, check_port, default_processes, is_open
from tasks_app.engine import system_state
from tasks_app.models import Worker

SLOTS_MOST = 4
CHECK_SEC = 2.0
GRACE_SEC = 10.0
RESTARTS_MOST = 3
START_SEC = 60.0


class NotServed(Exception):
    """What the command needs is missing or does not start; the message says what to do."""


class Serving:
    """Restarts a worker of our own, which is started when no other serves the queue."""

    def __init__(self, queue_name: str, *, var: Path) -> None:
        self.queue_name = queue_name
        self._logs = LogFiles(var / "log")
        self._own: Child | None = None
        self._check_at = 0.0

    def __enter__(self) -> Serving:
        self.poll()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """Where our own worker writes."""
        return self._logs.path("process-worker")

    @property
    def is_own(self) -> bool:
        """Whether a worker of our own serves the queue."""
        return self._own is not None

    def poll(self) -> None:
        """Start a worker if none serves the queue; start our own again if it died.

        Raises NotServed.
        """
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_SEC
        if self._own is not None:
            self._own.poll()
            if self._own.restarts >= RESTARTS_MOST and not self._served():
                raise NotServed(f"the worker does not start; see {self.log}")
        elif not self._served():
            self._own = Child(self._process(), self._logs)
            self._own.start()

    def stop(self) -> None:
        """End our own worker: ask, ask again, then kill its group."""
        if self._own is None:
            return
        for _ in range(2):
            self._own.signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SEC
            while self._own.alive() and time.monotonic() < deadline:
                time.sleep(0.05)
        self._own.end()
        self._own = None

    def _served(self) -> bool:
        return Worker.objects.live().serving(self.queue_name).filter(draining=False).exists()

    def _process(self) -> Process:
        slots = max(1, min(SLOTS_MOST, os.cpu_count() or 1))
        options = ("--worker-id", f"process-{os.getpid()}", "--queue-name", self.queue_name)
        return Process(
            name="process-worker",
            argv=(
                sys.executable, "-m", "absurd_project", "runworker", *options,
                "--concurrency", str(slots), "--poll-interval", "0.2",
            ),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class System:
    """A whole system to send tiles to. `stack` is None when it ran before."""

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

    Raises NotServed.
    """
    incoming = var / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    if running(var) is not None:
        if not is_open(port):
            raise NotServed(f"a system runs on {var}, but not on port {port}: set ABSURD_PORT to its port")
        yield System(port=port, incoming=incoming, stack=None)
        return
    port = _free_port(port)
    os.environ["ABSURD_PORT"] = str(port)
    with Stack(default_processes(port, incoming), var=var) as stack:
        deadline = time.monotonic() + START_SEC
        while not is_open(port):
            if time.monotonic() > deadline:
                raise NotServed(f"the web server does not answer on port {port}; see {var / 'log' / 'web.log'}")
            stack.poll()
            time.sleep(0.1)
        yield System(port=port, incoming=incoming, stack=stack)


def _free_port(wanted: int) -> int:
    """Return the wanted port, or any other when some program has it."""
    try:
        check_port(wanted)
    except PortBusy:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
    return wanted


def make_ready(out: OutputWrapper) -> None:
    """Bring the schema up to date and check that Absurd is enabled.

    On a single machine everything is prepared as `absurd_up` does. In production nothing is changed.
    Raises NotServed.
    """
    executor = MigrationExecutor(connection)
    current = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    if settings.PRODUCTION and not current:
        raise NotServed("the database's schema is not up to date: run manage.py absurd_setup")
    if not settings.PRODUCTION and not (current and accounts.api_key_file(settings.ABSURD_VAR).exists()):
        call_command("absurd_setup", stdout=out)
    if not system_state.is_enabled():
        raise NotServed(system_state.disabled_message(system_state.current()))
