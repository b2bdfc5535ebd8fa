"""Somebody has to do the work: the workers that already serve the queue, or else our own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import OutputWrapper
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from absurd_project import accounts
from absurd_project.local.output import LogFiles
from absurd_project.local.processes import CHECKOUT, Process
from absurd_project.local.supervised_process import Child
from tasks_app.engine import system_state
from tasks_app.models import Worker

MOST_SLOTS = 4
LOOK_SEC = 2.0
GRACE_SEC = 10.0
HOPELESS_RESTARTS = 3


class WorkersDoNotStart(Exception):
    """Our own worker ends again and again."""

    def __init__(self, log: Path) -> None:
        super().__init__(f"the worker does not start; see {log}")


class Serving:
    """Looks after the queue's workers while it is entered; starts one of our own when nobody else serves the queue."""

    def __init__(self, queue_name: str, *, var: Path) -> None:
        self.queue_name = queue_name
        self._logs = LogFiles(var / "log")
        self._label = f"process-{os.getpid()}"
        self._own: Child | None = None
        self._look_at = 0.0

    def __enter__(self) -> Serving:
        self.poll()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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

        Raises WorkersDoNotStart.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SEC
        if self._own is not None:
            self._own.poll()
            if self._own.restarts >= HOPELESS_RESTARTS and not self._served():
                raise WorkersDoNotStart(self.log)
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
        slots = max(1, min(MOST_SLOTS, os.cpu_count() or 1))
        options = ("--worker-id", self._label, "--queue-name", self.queue_name, "--concurrency", str(slots))
        return Process(
            name="process-worker",
            argv=(sys.executable, str(CHECKOUT / "manage.py"), "runworker", *options, "--poll-interval", "0.2"),
        )


class NotReady(Exception):
    """Something is missing that this command must not put right by itself; the message says what to do."""


def make_ready(out: OutputWrapper) -> None:
    """Bring the schema up to date and see that Absurd is enabled.

    On a single machine everything is prepared as `absurd_up` does. In production nothing is changed.
    Raises NotReady.
    """
    current = schema_is_current()
    if settings.PRODUCTION and not current:
        raise NotReady("the database's schema is not up to date: run manage.py absurd_setup")
    if not settings.PRODUCTION and not (current and accounts.api_key_file(settings.ABSURD_VAR).exists()):
        call_command("absurd_setup", stdout=out)
    if not system_state.is_enabled():
        raise NotReady(system_state.disabled_message(system_state.current()))


def schema_is_current() -> bool:
    """Whether every migration has been applied."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
